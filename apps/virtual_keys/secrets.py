"""The form of a virtual key: `sk-` and what `core.secret_form` says."""

from apps.core.secret_form import SecretForm

PREFIX = "sk-"
_FORM = SecretForm(PREFIX)
SHOWN_LENGTH = _FORM.shown_length

generate = _FORM.generate
is_well_formed = _FORM.is_well_formed
