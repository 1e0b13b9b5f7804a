"""People: one row for each Cognito ``sub`` that was ever seen, and the addresses they keep."""

from typing import ClassVar, Self

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models
from django.db.models.functions import Now


class UserQuerySet(models.QuerySet["User"]):
    """People, by what the shop asks about them."""

    def active(self) -> Self:
        """People who may sign in."""
        return self.filter(is_active=True)


class UserManager(BaseUserManager["User"]):
    """Django's manager of users, on our QuerySet. Users come from Cognito: nothing here makes one with a password."""

    def get_queryset(self) -> UserQuerySet:
        """Our QuerySet."""
        return UserQuerySet(self.model, using=self._db)

    def active(self) -> UserQuerySet:
        """People who may sign in."""
        return self.get_queryset().active()


class User(AbstractBaseUser, PermissionsMixin):
    """Somebody who signed in through Cognito. The ``sub`` is who they are; the e-mail is only where to write."""

    password = None  # type: ignore[assignment]  # passwords live in Cognito alone
    cognito_sub = models.CharField("Cognito sub", max_length=128, unique=True, editable=False)
    # Not unique: accounts are never joined by e-mail. Empty until Cognito calls it verified.
    email = models.EmailField("e-mail", blank=True, db_index=True)
    name = models.CharField(max_length=150, blank=True)
    is_active = models.BooleanField("active", default=True, help_text="Without it every token of theirs is refused.")
    is_staff = models.BooleanField(default=False, editable=False, help_text="From the Cognito groups, at each sign-in.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "cognito_sub"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        # The admin's list, newest first.
        indexes = [models.Index(fields=["-created_at", "-id"], name="user_newest")]

    def __str__(self) -> str:
        return self.email or self.name or self.cognito_sub

    def get_full_name(self) -> str:
        """What unfold greets them with."""
        return self.name or self.email

    def get_short_name(self) -> str:
        """The same, short."""
        return self.name or self.email.partition("@")[0]


class AddressQuerySet(models.QuerySet["Address"]):
    """Addresses, by whose they are."""

    def belonging_to(self, user: User) -> Self:
        """One person's addresses."""
        return self.filter(user=user)


class Address(models.Model):
    """Where somebody wants things sent. Orders keep a copy, so that changing one changes no order."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="addresses")
    name = models.CharField(max_length=150)
    line1 = models.CharField(max_length=200)
    line2 = models.CharField(max_length=200, blank=True)
    city = models.CharField(max_length=100)
    region = models.CharField(max_length=100, blank=True)
    postal_code = models.CharField(max_length=20)
    country = models.CharField(max_length=2, help_text="ISO 3166-1 alpha-2")
    phone = models.CharField(max_length=30, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = AddressQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "addresses"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(country__regex=r"^[A-Z]{2}$"), name="address_country_is_two_letters"
            )
        ]

    def __str__(self) -> str:
        return f"{self.name}, {self.city}, {self.country}"
