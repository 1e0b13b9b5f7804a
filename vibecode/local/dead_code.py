"""Finds functions, methods and classes that nothing uses. Called by `make check`.

vulture looks; this says what counts as used besides: names in dotted strings, and what frameworks call.
"""

import re
import sys
from pathlib import Path

from vulture import Vulture

from vibecode.local.folder import REPOSITORY

PLACES = ("vibecode", "catalog", "accounts", "orders", "infrastructure", "benchmarks", "tests", "manage.py")
KINDS = {"function", "method", "class", "property", "unreachable_code"}  # ruff sees unused imports
# Frameworks find these by the name of the file or folder.
DOORS = {
    "apps.py",
    "admin.py",
    "desk.py",
    "views.py",
    "pages.py",
    "days.py",
    "serializers.py",
    "filters.py",
    "forms.py",
}
# Called by a framework, by name.
HOOKS = re.compile(
    r"test_.*|pytest_.*|_empty_cache|_one_transaction|_stripe_is_set_up|_doors|_tidy_bucket|_allowed|Meta|get_full_name|get_short_name|authenticate|authenticate_header"
    r"|has_permission|select_parser|select_renderer|allow_request|get_paginated_response_schema"
    r"|get_schema_operation_parameters|get_security_definition|CognitoScheme|password_change|log_request"
    r"|do_[A-Z]+|teardown|handle_[a-z_]+|log_message|process_request|service_actions|to_python|is_cut"
)
# What hypothesis calls of a state machine, by these decorators; its teardown by name.
RULES = ["@initialize*", "@rule*", "@invariant*", "@precondition*"]


def main() -> int:
    """Print what nothing uses; 1 if there is anything."""
    looker = Vulture(ignore_decorators=RULES)
    looker.scavenge([REPOSITORY / place for place in PLACES])
    named = set(re.findall(r"\.(\w+)\"", "".join((REPOSITORY / "vibecode" / n).read_text() for n in SETTINGS)))
    found = 0
    for item in looker.get_unused_code(min_confidence=60):
        path = Path(item.filename).relative_to(REPOSITORY)
        known = item.name in named or HOOKS.fullmatch(item.name) or _is_door(path)
        if item.typ in KINDS and not known and not {"migrations", "commands"} & set(path.parts):
            print(f"{path}:{item.first_lineno}: unused {item.typ} {item.name}")  # noqa: T201 -- the output of a command
            found = 1
    return found


def _is_door(path: Path) -> bool:
    return path.name in DOORS or (path.parent.name == "admin" and path.parts[0] != "tests")


SETTINGS = ("settings.py", "urls.py", "admin_site.py", "unfold.py", "resources.py")

if __name__ == "__main__":
    sys.exit(main())
