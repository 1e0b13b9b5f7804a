"""What is left of ReportLab and Stripe in the package does all that the shop asks of them."""

import base64
import io
import json
from pathlib import Path

from pypdf import PdfReader

from vibecode.local.sandboxes import interpret

KEYS = {"AWS_ACCESS_KEY_ID": "role", "AWS_SECRET_ACCESS_KEY": "role", "AWS_SESSION_TOKEN": "role"}
PRINT = """
import base64, json, os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "vibecode.settings"
import django
django.setup()
from orders.slips import Slip, print_slips
print("TOLD" + base64.b64encode(print_slips([Slip.of(json.load(sys.stdin))])).decode())
"""
# Its parameters' types are for type checkers; whatever needed them at run time would say so here.
IMPORT = """
import importlib, json, pkgutil, sys
import stripe
found = [module.name for module in pkgutil.walk_packages(stripe.__path__, "stripe.")]
for name in found:
    importlib.import_module(name)
json.load(sys.stdin)
intent = stripe.PaymentIntent.construct_from({"id": "pi_1", "object": "payment_intent", "status": "succeeded"}, "sk_1")
print("TOLD" + json.dumps([len(found), intent.status, stripe.StripeClient("sk_1").v1.payment_intents is not None]))
"""


def test_a_packing_slip_is_printed_in_a_sandbox(task: Path, environment: dict[str, str]) -> None:
    line = {"sku": "LAMP-1", "name": "מנורה Лампа مصباح 灯", "figures": ["3", "1", "2"], "remark": ""}
    slip = {
        "shop": "Vibecode", "order": "ORD-1", "facts": ["Placed 1 May 2026"], "address": ["Ada Lovelace"],
        "note": "Ring twice", "heads": ["Ordered", "Shipped", "To ship"], "lines": [line] * 60,
    }  # fmt: skip

    done = interpret(PRINT, task=task, environment=environment | KEYS, event=slip)

    assert done.returncode == 0, done.stderr[-4000:]
    pages = PdfReader(io.BytesIO(base64.b64decode(done.stdout.rpartition("TOLD")[2]))).pages
    assert len(pages) > 1
    for wanted in ("Ada Lovelace", "Ring twice", "מנורה", "Лампа", "□"):
        assert wanted in pages[0].extract_text(), wanted


def test_every_module_of_stripe_that_is_left_can_be_imported(task: Path, environment: dict[str, str]) -> None:
    done = interpret(IMPORT, task=task, environment=environment | KEYS, event={})

    assert done.returncode == 0, done.stderr[-4000:]
    count, status, has_client = json.loads(done.stdout.rpartition("TOLD")[2])
    assert (count > 500, status, has_client) == (True, "succeeded", True)
