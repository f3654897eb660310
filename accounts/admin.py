"""People in the admin. Deleting one is the same erasure that people can ask for themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allauth.account import admin as account_admin
from allauth.account.models import EmailAddress
from allauth.mfa import admin as mfa_admin
from allauth.mfa.models import Authenticator
from allauth.usersessions import admin as usersessions_admin
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.contrib.auth import logout
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm as BaseUserChangeForm
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.models import CHANGED_BY_OWNER, User
from accounts.services.erasure import request_erasure
from predictions.admin.common import CappedPaginator
from predictions.models import Scan

if TYPE_CHECKING:
    ChangeForm = BaseUserChangeForm[User]
    CreationForm = AdminUserCreationForm[User]
    UserAdminBase = BaseUserAdmin[User]
    PlainAdmin = admin.ModelAdmin[Any]
else:
    ChangeForm = BaseUserChangeForm
    CreationForm = AdminUserCreationForm
    UserAdminBase = BaseUserAdmin
    PlainAdmin = admin.ModelAdmin


class UserCreationForm(CreationForm):
    class Meta:
        model = User
        fields = ("email",)


class UserChangeForm(ChangeForm):
    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        stays = all(cleaned.get(right) for right in ("is_active", "is_staff", "is_superuser"))
        others = _administrators().exclude(pk=self.instance.pk)
        if not stays and _administrators().contains(self.instance) and not others.exists():
            raise ValidationError(
                "This is the only administrator's account. Give somebody else these rights first."
            )
        return cleaned


def _administrators() -> QuerySet[User]:
    return User.objects.filter(is_superuser=True, is_active=True)


@admin.register(User)
class UserAdmin(UserAdminBase):
    form = UserChangeForm
    add_form = UserCreationForm
    paginator = CappedPaginator
    show_full_result_count = False
    list_display = ("email", "is_active", "is_staff", "is_superuser", "last_login", "date_joined")
    list_filter = ("is_active", "is_staff", "is_superuser", "groups")
    search_fields = ("email",)
    search_help_text = "Part of the address."
    ordering = ("-id",)
    readonly_fields = ("last_login", "date_joined", "erase_requested_at", "scans")
    fieldsets = (
        (None, {"fields": ("email", "password"), "description": CHANGED_BY_OWNER}),
        ("Rights", {"fields": ("is_active", "is_staff", "is_superuser", "groups")}),
        ("Course", {"fields": ("date_joined", "last_login", "erase_requested_at", "scans")}),
    )
    add_fieldsets = ((None, {"fields": ("email", "usable_password", "password1", "password2")}),)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        """The address of an account is changed by its owner, who verifies the new one."""
        fixed = [str(name) for name in super().get_readonly_fields(request, obj)]
        return ["email", *fixed] if obj else fixed

    @admin.display(description="scans")
    def scans(self, user: User) -> int:
        return Scan.objects.filter(owner=user, deleted_at__isnull=True).count()

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).filter(erase_requested_at__isnull=True)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        """What is deleted with the people. Only the last administrator cannot be."""
        users = list(objs)
        scans = Scan.objects.filter(owner__in=users, deleted_at__isnull=True).count()
        administrators = [user for user in users if user.is_superuser]
        staying = _administrators().exclude(pk__in=[user.pk for user in users])
        protected = [str(user) for user in administrators] if not staying.exists() else []
        counts = {"users": len(users), "scans": scans}
        return [str(user) for user in users], counts, set(), protected

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        request_erasure(user=obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in queryset:
            request_erasure(user=user)


account_admin.admin.site.unregister(EmailAddress)
mfa_admin.admin.site.unregister(Authenticator)
usersessions_admin.admin.site.unregister(UserSession)


class LookOnlyAdmin(PlainAdmin):
    """Rows that staff may look at and remove."""

    list_select_related = ("user",)
    search_fields = ("user__email",)
    search_help_text = "Part of the person's address."

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for row in queryset:
            self.delete_model(request, row)


@admin.register(Authenticator)
class AuthenticatorAdmin(LookOnlyAdmin):
    """For the removal of lost second factors. Their secrets are not shown."""

    list_display = ("user", "type", "created_at", "last_used_at")
    list_filter = ("type",)
    fields = ("user", "type", "created_at", "last_used_at")

    def delete_model(self, request: HttpRequest, obj: Authenticator) -> None:
        """Codes for recovery go with the last factor that they stand in for."""
        obj.delete()
        left = Authenticator.objects.filter(user=obj.user)
        if not left.exclude(type=Authenticator.Type.RECOVERY_CODES).exists():
            left.delete()


@admin.register(UserSession)
class UserSessionAdmin(LookOnlyAdmin):
    """For signing a browser out: the row alone would leave it signed in, and listed nowhere."""

    list_display = ("user", "ip", "user_agent", "created_at", "last_seen_at")
    fields = ("user", "ip", "user_agent", "created_at", "last_seen_at")

    def delete_model(self, request: HttpRequest, obj: UserSession) -> None:
        if obj.session_key == request.session.session_key:
            # Of one that has gone the request itself could not be answered.
            logout(request)
        obj.end()


@admin.register(EmailAddress)
class EmailAddressAdmin(LookOnlyAdmin, account_admin.EmailAddressAdmin):
    """For addresses whose verification has failed, and those that nobody can read any more.

    Written here, one would differ from the address by which its owner signs in.
    """

    fieldsets = (
        (
            None,
            {"fields": ("user", "email", "verified", "primary"), "description": CHANGED_BY_OWNER},
        ),
    )

    def has_verify_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("account.change_emailaddress")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Not the one by which the account is known."""
        return super().has_delete_permission(request, obj) and not (obj and obj.primary)

    @admin.action(description="Mark as verified", permissions=["verify"])
    def make_verified(self, request: HttpRequest, queryset: QuerySet[EmailAddress]) -> None:
        super().make_verified(request, queryset)
