"""What is left of Pillow in the package reads and writes every format that the shop takes."""

import base64
import json
from pathlib import Path

from tests.catalog.files import a_picture, from_a_telephone
from vibecode.local.sandboxes import interpret

EXAMINE = """
import base64, json, os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "vibecode.settings"
import django
django.setup()
from catalog import images
told = {}
for name, content in json.load(sys.stdin).items():
    picture = images.examine(base64.b64decode(content))
    told[name] = [picture.content_type, picture.width, picture.height, len(images.shrink(picture.content, 160)) > 0]
print("TOLD" + json.dumps(told))
"""


def test_every_format_is_examined_and_shrunk_in_a_sandbox(task: Path, environment: dict[str, str]) -> None:
    files = {form: a_picture(form) for form in ("PNG", "WEBP", "GIF")} | {"JPEG": from_a_telephone()}
    event = {name: base64.b64encode(content).decode() for name, content in files.items()}
    keys = {"AWS_ACCESS_KEY_ID": "role", "AWS_SECRET_ACCESS_KEY": "role", "AWS_SESSION_TOKEN": "role"}

    done = interpret(EXAMINE, task=task, environment=environment | keys, event=event)

    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads(done.stdout.rpartition("TOLD")[2]) == {
        "PNG": ["image/png", 64, 48, True],
        "WEBP": ["image/webp", 64, 48, True],
        "GIF": ["image/gif", 64, 48, True],
        "JPEG": ["image/jpeg", 48, 64, True],
    }
