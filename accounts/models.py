"""People: one row for each Cognito ``sub`` that was ever seen, and the addresses they keep."""

from typing import ClassVar, Self

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now, Upper

from vibecode.searching import has_trigram


class UserQuerySet(models.QuerySet["User"]):
    """People, by what the shop asks about them."""

    def active(self) -> Self:
        """People who may sign in."""
        return self.filter(is_active=True)

    def matching(self, words: str) -> Self:
        """Whose e-mail or name has the words in it; begins with them, where user_trigrams could not look for them.

        A single letter means nobody.
        """
        if len(words) == 1 and words.isascii():
            return self.none()  # a letter is in every name
        how = "icontains" if has_trigram(words) else "istartswith"
        return self.filter(Q(**{f"email__{how}": words}) | Q(**{f"name__{how}": words}))


class UserManager(BaseUserManager["User"]):
    """Django's manager of users, on our QuerySet. Users come from Cognito: nothing here makes one with a password."""

    def get_queryset(self) -> UserQuerySet:
        """Our QuerySet."""
        return UserQuerySet(self.model, using=self._db)

    def active(self) -> UserQuerySet:
        """People who may sign in."""
        return self.get_queryset().active()

    def matching(self, words: str) -> UserQuerySet:
        """People by a part of their e-mail or name."""
        return self.get_queryset().matching(words)


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
        indexes = [
            # The admin's list, newest first; and the few in it whom its filters look for.
            models.Index(fields=["-created_at", "-id"], name="user_newest"),
            models.Index(fields=["-created_at", "-id"], name="user_shut_out", condition=Q(is_active=False)),
            models.Index(fields=["-created_at", "-id"], name="user_working_here", condition=Q(is_staff=True)),
            # Staff's search, of people and of their orders: by a part, or where that is too short, by the beginning.
            GinIndex(
                OpClass(Upper("email"), name="gin_trgm_ops"),
                OpClass(Upper("name"), name="gin_trgm_ops"),
                name="user_trigrams",
            ),
            models.Index(OpClass(Upper("email"), name="text_pattern_ops"), name="user_email_begins"),
            models.Index(OpClass(Upper("name"), name="text_pattern_ops"), name="user_name_begins"),
        ]

    def __str__(self) -> str:
        return self.email or self.name or self.cognito_sub

    def get_full_name(self) -> str:
        """What unfold greets them with."""
        return self.name or self.email

    def get_short_name(self) -> str:
        """The same, short."""
        return self.name or self.email.partition("@")[0]


MOST_OWNERS = 200  # of a search for addresses


class AddressQuerySet(models.QuerySet["Address"]):
    """Addresses, by whose they are and what they say."""

    def matching(self, words: str) -> Self:
        """By a part of the name or city, the beginning of the postal code, or the e-mail or name of whose it is."""
        people = list(User.objects.matching(words).values_list("pk", flat=True)[:MOST_OWNERS])
        place = Q(postal_code__istartswith=words)
        if has_trigram(words):
            place |= Q(name__icontains=words) | Q(city__icontains=words)
        return self.filter(place | Q(user__in=people))

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
        indexes = [
            # The admin's list, newest first, and of one country.
            models.Index(fields=["-created_at", "-id"], name="address_newest"),
            models.Index(fields=["country", "-created_at", "-id"], name="address_by_country"),
            # Its search.
            GinIndex(
                OpClass(Upper("name"), name="gin_trgm_ops"),
                OpClass(Upper("city"), name="gin_trgm_ops"),
                OpClass(Upper("postal_code"), name="gin_trgm_ops"),
                name="address_trigrams",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name}, {self.city}, {self.country}"
