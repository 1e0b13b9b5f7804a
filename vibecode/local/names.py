"""What things in the local AWS are called, and who may sign in. Read by aws.py, cognito.py, media.py and the panel."""

REGION = "us-east-1"  # where moto sends calls without a signature
POOL_NAME = "vibecode-local"
POOL_ID = f"{REGION}_VibecodeLocal"
CLIENT_ID = "vibecodelocalclient0000001"
MEDIA_BUCKET = "vibecode-local-media"

DEMO_PASSWORD = "Vibecode-demo-1!"  # noqa: S105 - shown on the panel; local mode only
DEMO_USERS: dict[str, tuple[str, ...]] = {
    "shopper@example.com": (),
    "other@example.com": (),
    "staff@example.com": ("staff",),
    "admin@example.com": ("admin",),
}
