"""What a test gives `httpx.get` and its like, for whom it calls beside itself: `**PLAIN`."""

import ssl
from typing import Any

# No proxy, and no TLS: to read the certificates of the world costs more than most requests.
PLAIN: dict[str, Any] = {"trust_env": False, "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}
