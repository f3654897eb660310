"""Users in the page editor's own forms, without names, which the site does not know."""

from typing import Any

from wagtail.users.forms import UserCreationForm, UserEditForm
from wagtail.users.views.users import UserViewSet as WagtailUserViewSet

from accounts.models import CHANGED_BY_OWNER

NAMES = {"first_name", "last_name"}


class CreationForm(UserCreationForm):
    first_name = last_name = None

    class Meta(UserCreationForm.Meta):
        fields = UserCreationForm.Meta.fields - NAMES


class EditForm(UserEditForm):
    first_name = last_name = None

    class Meta(UserEditForm.Meta):
        fields = UserEditForm.Meta.fields - NAMES

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["email"].disabled = True
        self.fields["email"].help_text = CHANGED_BY_OWNER


class UserViewSet(WagtailUserViewSet):
    def get_form_class(self, for_update: bool = False) -> type[CreationForm] | type[EditForm]:
        return EditForm if for_update else CreationForm
