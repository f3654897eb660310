from django.apps import AppConfig
from wagtail.users.apps import WagtailUsersAppConfig


class AccountsConfig(AppConfig):
    default = True
    name = "accounts"
    # allauth's own section of the admin is called "Accounts".
    verbose_name = "People"

    def ready(self) -> None:
        from accounts import checks, signals, tasks  # noqa: F401  # each registers itself


class PageUsersConfig(WagtailUsersAppConfig):
    """Wagtail's pages of users, with forms of ours."""

    user_viewset = "accounts.page_users.UserViewSet"
