"""The sign-in form of the admin: an e-mail and a password. Named by vibecode.unfold."""

from typing import Any

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm
from unfold.widgets import BASE_INPUT_CLASSES

from vibecode.bearer import LONGEST_EMAIL


class SignInForm(AdminAuthenticationForm):
    """Django's form asks for the user model's key, which is Cognito's sub; people know their e-mail."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        classes = " ".join(BASE_INPUT_CLASSES)
        self.fields["username"] = forms.EmailField(
            label="E-mail",
            max_length=LONGEST_EMAIL,
            widget=forms.EmailInput(attrs={"autofocus": True, "autocomplete": "username", "class": classes}),
        )
        self.fields["password"].widget.attrs["class"] = classes
        self.error_messages = {
            **self.error_messages,
            "invalid_login": "This e-mail and password do not belong to somebody who works here.",
        }

    def get_invalid_login_error(self) -> forms.ValidationError:
        """One sentence for a wrong password, a customer and a closed account: it tells a stranger nothing."""
        return forms.ValidationError(self.error_messages["invalid_login"], code="invalid_login")
