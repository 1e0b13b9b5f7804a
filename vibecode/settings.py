"""Every setting of the shop. Stages differ by values from the environment, not by code paths: see .env.example.

Longer than most modules: whoever looks for a setting looks here and nowhere else.
"""

import os
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from django.utils.csp import CSP

from vibecode import resources
from vibecode.environment import Environment, origin_of
from vibecode.observability import logging_config
from vibecode.resources import ACTION_SECONDS, FUNCTION_TIMEOUT, LOCAL_ACCOUNT, Resources
from vibecode.unfold import UNFOLD  # noqa: F401 -- read by unfold: how the admin looks

BASE_DIR = Path(__file__).resolve().parent.parent

STAGE = Environment(os.environ, required=False).stage("STAGE")
LOCAL = STAGE == "local"
ON_LAMBDA = "AWS_LAMBDA_FUNCTION_NAME" in os.environ
env = Environment(os.environ, required=not LOCAL)

# --- where it is -------------------------------------------------------------------------------------------------
PORT = env.integer("PORT", 8000, least=1, most=65535)
# The one public address: Location, next, cookies and CSRF derive from it. It has a path only where customers meet API
# Gateway itself, whose addresses begin with the stage.
PUBLIC_URL = env.url("PUBLIC_URL", f"http://127.0.0.1:{PORT}" if LOCAL else None)
_public = urlsplit(PUBLIC_URL)
FORCE_SCRIPT_NAME = _public.path or None
# Of the secret that CloudFront adds to each request, two while it changes. On Lambda nobody else is answered, unless
# customers meet API Gateway itself.
ORIGIN_SECRET_SHA256 = env.digests("ORIGIN_SECRET_SHA256", required=ON_LAMBDA and ".execute-api." not in _public.netloc)
ALLOWED_HOSTS = [
    str(_public.hostname),
    *env.hosts("ALLOWED_HOSTS", ("127.0.0.1", "localhost", "[::1]") if LOCAL else ()),
]
CSRF_TRUSTED_ORIGINS = [f"{_public.scheme}://{_public.netloc}"]
SECRET_KEY = env.secret("SECRET_KEY", secrets.token_urlsafe(50), shortest=40)
# Signs the cursors of lists, which grant nothing. Where SECRET_KEY has to be fetched it is made of what every sandbox
# knows and no stranger does: the first page of products waits for nobody but the database.
CURSOR_KEY = f"cursors {env.text('SECRETS_ARN', '') or SECRET_KEY}"
DEBUG = False
# Which code this is: the package carries its commit; a checkout has none.
_release = BASE_DIR / "vibecode" / "release.txt"
RELEASE = _release.read_text().strip() if _release.exists() else "checkout"

# --- what it is made of ------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "vibecode.admin_site.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "corsheaders",
    "django_filters",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "storages",
    "vibecode",
    "accounts",
    "catalog",
    "orders",
]
MIDDLEWARE = [
    "vibecode.observability.RequestLogMiddleware",
    "vibecode.acting.nobody_acts_yet",
    "vibecode.origin.refuse_who_went_around",
    "corsheaders.middleware.CorsMiddleware",
    "vibecode.throttling.add_rate_headers",
    "vibecode.parsing.read_chunked_body",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "vibecode.urls"
WSGI_APPLICATION = "vibecode.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "vibecode" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# --- the database ------------------------------------------------------------------------------------------------
_database = {
    "CONN_MAX_AGE": None,
    "CONN_HEALTH_CHECKS": True,
    "ATOMIC_REQUESTS": False,
    # It would pin a connection of RDS Proxy's.
    # https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/rds-proxy-pinning.html
    "DISABLE_SERVER_SIDE_CURSORS": True,
}
DATABASES = {"default": env.database("DATABASE_URL", "postgresql://vibecode@127.0.0.1:5432/vibecode") | _database}
if env.text("DATABASE_OWNER_URL", ""):
    # The worker's, for migrations: the cluster itself, as the role that owns the tables.
    DATABASES["owner"] = env.database("DATABASE_OWNER_URL", "", "DATABASE_OWNER_SIGN_IN") | _database
    DATABASES["owner"]["PROXIED"] = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
IDEMPOTENCY_LOCK_SECONDS = env.integer("IDEMPOTENCY_LOCK_SECONDS", 5, least=1, most=20)
IDEMPOTENCY_KEEP_HOURS = env.integer("IDEMPOTENCY_KEEP_HOURS", 24 * 7, least=24)

CACHES = {"default": env.cache("CACHE_URL")}

# --- AWS ---------------------------------------------------------------------------------------------------------
AWS_REGION = env.text("AWS_REGION", "us-east-1" if LOCAL else None)
AWS_ENDPOINT_URL = env.local_aws("AWS_ENDPOINT_URL", "http://127.0.0.1:5000")
# AWS itself is on this machine: in local mode, and where a real stage's package is rehearsed.
SIMULATED = AWS_ENDPOINT_URL is not None
AWS_ACCOUNT_ID = env.pattern("AWS_ACCOUNT_ID", r"\d{12}", "the 12 digits of an account", LOCAL_ACCOUNT)
RESOURCES = Resources(stage=STAGE, region=AWS_REGION, account=AWS_ACCOUNT_ID, endpoint=AWS_ENDPOINT_URL)
COGNITO_USER_POOL_ID = env.text_of_stage("COGNITO_USER_POOL_ID", "us-east-1_local")
COGNITO_CLIENT_ID = env.text_of_stage("COGNITO_CLIENT_ID", "local")
COGNITO_ISSUER = env.url("COGNITO_ISSUER", f"https://cognito-idp.{AWS_REGION}.amazonaws.com/{COGNITO_USER_POOL_ID}")
COGNITO_JWKS_URL = env.url(
    "COGNITO_JWKS_URL",
    f"{AWS_ENDPOINT_URL}/{COGNITO_USER_POOL_ID}/.well-known/jwks.json"
    if AWS_ENDPOINT_URL
    else f"{COGNITO_ISSUER}/.well-known/jwks.json",
)
COGNITO_JWKS = env.text("COGNITO_JWKS", "")  # what stands there, as the deployment found it
# Who signs staff in, by OpenID Connect: the pool itself, to which the desk is a client of its own, with a secret. On
# the laptop nobody, unless an issuer is named.
OIDC_ISSUER = env.optional_url("OIDC_ISSUER") if LOCAL else env.url("OIDC_ISSUER", COGNITO_ISSUER)
OIDC_CLIENT_ID = env.text_of_stage("OIDC_CLIENT_ID", "vibecode-desk")
OIDC_CLIENT_SECRET = env.secret("OIDC_CLIENT_SECRET", "")
# The origin of the hosted pages. Cognito ends its own session only there: a stage whose staff it signs in must name it.
COGNITO_DOMAIN = (
    env.origin("COGNITO_DOMAIN") if OIDC_ISSUER == COGNITO_ISSUER else env.optional_origin("COGNITO_DOMAIN")
)
SIGN_IN_ORIGIN = COGNITO_DOMAIN if OIDC_ISSUER == COGNITO_ISSUER else origin_of(OIDC_ISSUER)

# --- facts -------------------------------------------------------------------------------------------------------
# Longer than one call of the relay (vibecode.relay.CALL_SECONDS), or a second relay would send what the first has sent.
OUTBOX_LEASE_SECONDS = env.integer("OUTBOX_LEASE_SECONDS", 10 if LOCAL else 60, least=4, most=900)
OUTBOX_TRIES = env.integer("OUTBOX_TRIES", 10, least=1, most=15)  # then a fact is parked for staff to look at
OUTBOX_KEEP_DAYS = env.integer("OUTBOX_KEEP_DAYS", 14, least=1)
# How long a consumer may work on a fact before another delivery of it may begin anew: longer than the function lives.
INBOX_LEASE_SECONDS = env.integer(
    "INBOX_LEASE_SECONDS", 15 if LOCAL else 150, least=1 if LOCAL else FUNCTION_TIMEOUT + 1
)
# How long a message that failed keeps away, at most; what waits for a message must be more patient.
REDELIVERY_SECONDS = env.integer(
    "REDELIVERY_SECONDS", 15 if LOCAL else resources.REDELIVERY_SECONDS, least=1, most=resources.REDELIVERY_SECONDS
)

# --- the workflow ------------------------------------------------------------------------------------------------
# An order that has not moved for so long is looked after by the sweep.
ORDER_STUCK_SECONDS = env.integer("ORDER_STUCK_SECONDS", 20 if LOCAL else 900, least=5)
ORDER_MOST_RUNS = env.integer("ORDER_MOST_RUNS", 12, least=1)  # executions begun for one order before it is cancelled

# --- long work ---------------------------------------------------------------------------------------------------
# A job that has not moved for so long is given its messages anew: longer than the function lives.
JOB_STUCK_SECONDS = env.integer("JOB_STUCK_SECONDS", 15 if LOCAL else 180, least=1 if LOCAL else FUNCTION_TIMEOUT + 1)
JOB_KEEP_DAYS = env.integer("JOB_KEEP_DAYS", 30, least=1)

# --- payments ----------------------------------------------------------------------------------------------------
PAYMENT_PROVIDER = env.choice(
    "PAYMENT_PROVIDER", ("demo", "stripe") if SIMULATED else ("stripe",), "demo" if LOCAL else "stripe"
)
PAYMENT_TIMEOUT_SECONDS = 8  # a provider call < task time-out 25 < function time-out < execution
DEMO_PAYMENTS_URL = env.url("DEMO_PAYMENTS_URL", "http://127.0.0.1:5001") if PAYMENT_PROVIDER == "demo" else ""
STRIPE_API_KEY = "" if PAYMENT_PROVIDER == "demo" else env.secret("STRIPE_API_KEY", None)
STRIPE_WEBHOOK_SECRET = "" if PAYMENT_PROVIDER == "demo" else env.secret("STRIPE_WEBHOOK_SECRET", None)
STRIPE_API_URL = env.optional_url("STRIPE_API_URL")  # unset: Stripe itself
REFUND_LIMIT = env.integer("REFUND_LIMIT", 500)  # of one order, in the shop's currency: more needs a second person
PAYMENT_ACTION_SECONDS = env.integer("PAYMENT_ACTION_SECONDS", ACTION_SECONDS, least=60, most=ACTION_SECONDS)

# --- mail --------------------------------------------------------------------------------------------------------
_mailbox = (r"[^<>@,;:\"\r\n]+ <[^<>@,;:\"\s]+@[A-Za-z0-9.-]+>", "like Shop <orders@shop.example>")
DEFAULT_FROM_EMAIL = env.pattern("MAIL_FROM", *_mailbox, "Vibecode <orders@vibecode.example>")
# Where answers go; unset: to MAIL_FROM.
MAIL_REPLY_TO = env.pattern("MAIL_REPLY_TO", *_mailbox, "") if env.text("MAIL_REPLY_TO", "") else DEFAULT_FROM_EMAIL
MAILERS = {
    "default": {
        "BACKEND": "anymail.backends.amazon_ses.EmailBackend",
        "OPTIONS": {
            "configuration_set_name": RESOURCES.mail_configuration,
            "client_params": {
                "region_name": AWS_REGION,
                "endpoint_url": AWS_ENDPOINT_URL,
                # One attempt: SES knows no idempotency key, so a repeat of what timed out could be a second mail.
                "config": {"connect_timeout": 2, "read_timeout": 10, "retries": {"total_max_attempts": 1}},
            },
        },
    }
}
# A mail whose sending was cut off is sent again when SES has not said within so long that it took it; it says so by a
# message, which may have to come twice.
MAIL_OUTCOME_SECONDS = env.integer("MAIL_OUTCOME_SECONDS", 40 if LOCAL else 300, least=2 * REDELIVERY_SECONDS)

# --- the websocket -----------------------------------------------------------------------------------------------
WEBSOCKET_URL = env.optional_socket("WEBSOCKET_URL")  # what customers connect to; unset: there is none
WEBSOCKET_API_URL = env.optional_url("WEBSOCKET_API_URL")  # what the app pushes through: API Gateway's @connections

# --- files -------------------------------------------------------------------------------------------------------
MEDIA_BUCKET = env.text_of_stage("MEDIA_BUCKET", "vibecode-local-media")
MEDIA_ORIGIN = env.optional_url("MEDIA_URL")  # CloudFront's address of the bucket; unset: signed S3 addresses
MEDIA_URL_SECONDS = env.integer("MEDIA_URL_SECONDS", 3600, least=60, most=7 * 86400)
_media = urlsplit(MEDIA_ORIGIN)
# Where browsers post pictures: the bucket's own address, as it is signed.
BUCKET_URL = AWS_ENDPOINT_URL or f"https://{MEDIA_BUCKET}.s3.{AWS_REGION}.amazonaws.com"
# Else boto3 signs another address than BUCKET_URL in us-east-1.
# https://docs.aws.amazon.com/sdkref/latest/guide/feature-s3-regional-endpoints.html
os.environ.setdefault("AWS_S3_US_EAST_1_REGIONAL_ENDPOINT", "regional")
STORAGES = {
    "default": {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": MEDIA_BUCKET,
            "region_name": AWS_REGION,
            "endpoint_url": AWS_ENDPOINT_URL,
            "addressing_style": "path" if SIMULATED else "virtual",
            "signature_version": "s3v4",
            "file_overwrite": False,
            "querystring_auth": not MEDIA_ORIGIN,
            "querystring_expire": MEDIA_URL_SECONDS,
            "custom_domain": f"{_media.netloc}{_media.path}" if MEDIA_ORIGIN else None,
            "url_protocol": f"{_media.scheme or 'https'}:",
            "object_parameters": {"CacheControl": "public, max-age=31536000, immutable"},
        },
    },
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if LOCAL
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
STATIC_URL = f"{_public.path}/static/"
WHITENOISE_KEEP_ONLY_HASHED_FILES = True
STATIC_ROOT = None if LOCAL else BASE_DIR / "staticfiles"  # locally straight from the packages
WHITENOISE_USE_FINDERS = LOCAL
WHITENOISE_AUTOREFRESH = False

# --- people ------------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
STAFF_PASSWORDS = LOCAL  # a form for them, and somebody who checks them; elsewhere neither
AUTHENTICATION_BACKENDS = [
    "accounts.authentication.CognitoPasswordBackend" if STAFF_PASSWORDS else "accounts.authentication.GroupRights"
]
STAFF_NEED_MFA = env.yes_or_no("STAFF_NEED_MFA", default=not LOCAL)
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"  # for whoever came to sign in and wanted no page
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"  # cookies would need SECRET_KEY at once
SESSION_COOKIE_AGE = 30 * 60  # without a page of the admin (vibecode.sessions)
SESSION_LONGEST = 8 * 3600  # in all, whatever happens in it
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"  # it comes along when the sign-in page sends the browser back
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not LOCAL

# --- the web -----------------------------------------------------------------------------------------------------
SECURE_SSL_REDIRECT = not LOCAL
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
SECURE_HSTS_SECONDS = 0 if LOCAL else 365 * 86400
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = not LOCAL
X_FRAME_OPTIONS = "DENY"
_images = [CSP.SELF, "data:", "blob:", *filter(None, [AWS_ENDPOINT_URL])]
if MEDIA_ORIGIN:
    _images.append(f"{_media.scheme}://{_media.netloc}")  # without its path: one would match that file alone
if not MEDIA_ORIGIN and not SIMULATED:
    _images.append(BUCKET_URL)
SECURE_CSP: dict[str, list[str]] = {
    "default-src": [CSP.SELF],
    "img-src": _images,
    "object-src": [CSP.NONE],
    "base-uri": [CSP.SELF],
    "frame-ancestors": [CSP.NONE],
    "form-action": [CSP.SELF],
}
# Alpine inside unfold evaluates expressions and sets styles: accepted for /admin/ alone (docs/decisions/0007).
ADMIN_CSP: dict[str, list[str]] = SECURE_CSP | {
    "script-src": [CSP.SELF, CSP.UNSAFE_EVAL],
    "connect-src": [CSP.SELF, BUCKET_URL],
    "style-src": [CSP.SELF, CSP.UNSAFE_INLINE],
    # Signing in and out are forms, which lead on to the provider: Chromium asks this of every redirect of a form.
    "form-action": [CSP.SELF, *filter(None, [SIGN_IN_ORIGIN])],
}
# Swagger's page sets styles from its script; scripts stay our own files.
DOCS_CSP: dict[str, list[str]] = SECURE_CSP | {"style-src": [CSP.SELF, CSP.UNSAFE_INLINE]}
CORS_ALLOWED_ORIGINS = env.origins(
    "CORS_ALLOWED_ORIGINS", ("http://localhost:3000", "http://127.0.0.1:3000") if LOCAL else ()
)
CORS_URLS_REGEX = r"^/api/.*$"
CORS_ALLOW_HEADERS = [
    "authorization",
    "content-type",
    "idempotency-key",
    "if-match",
    "if-none-match",
    "x-request-id",
]
CORS_EXPOSE_HEADERS = [
    "Location", "ETag", "Idempotent-Replayed", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset",
    "Retry-After", "X-Request-Id",
]  # fmt: skip
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024  # a body of the API; files of the admin are not counted
API_RATES = {
    "anonymous": env.rate("RATE_ANONYMOUS", "60000/minute" if LOCAL else "120/minute"),
    "signed_in": env.rate("RATE_SIGNED_IN", "60000/minute" if LOCAL else "600/minute"),
}
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.authentication.CognitoAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["vibecode.parsing.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "vibecode.parsing.AlwaysJSON",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_THROTTLE_CLASSES": ["vibecode.throttling.RateLimit"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "vibecode.problems.problem_response",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Vibecode shop API",
    "DESCRIPTION": "Browse the catalogue, sign in with Cognito, place orders exactly once, and follow them.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "OrderStatusEnum": "orders.status.OrderStatus",
        "ProductStatusEnum": "catalog.models.ProductStatus",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "vibecode.openapi.describe_problems",
    ],
}

# --- the shop ----------------------------------------------------------------------------------------------------
SHOP_CURRENCY = env.currency("SHOP_CURRENCY", "GBP")
LANGUAGE_CODE = "en-gb"
FORMAT_MODULE_PATH = ["vibecode.formats"]
TIME_ZONE = env.zone("SHOP_TIME_ZONE", "Europe/London")
USE_TZ = True

# --- logs --------------------------------------------------------------------------------------------------------
LOGGING_CONFIG = "logging.config.dictConfig"
LOGGING = logging_config(
    level=env.choice("LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR"), "INFO"),
    form=env.choice("LOG_FORMAT", ("json", "console"), "json"),
)
