"""All settings, read from the environment in this one place.

Each is documented in docs/settings.md (a test holds the two together). Defaults suit a laptop;
`manage.py check --deploy` refuses the ones that must not reach production.
"""

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured
from redis.backoff import NoBackoff
from redis.retry import Retry

BASE_DIR = Path(__file__).resolve().parent.parent


class Env(environ.Env):  # type: ignore[misc]
    """The environment; a value that cannot be read names its variable."""

    def get_value(self, var: str, *args: Any, **options: Any) -> Any:
        try:
            return super().get_value(var, *args, **options)
        except ValueError as error:
            raise ImproperlyConfigured(f"{var} cannot be read: {error}") from error


env = Env()
# A .env beside manage.py is read when it exists; the real environment wins over it.
Env.read_env(str(BASE_DIR / ".env"))

# Of the project, as pyproject.toml (which no image has) says too.
VERSION = "0.1.0"

# --- What is where -----------------------------------------------------------------------------------------

# Embedded: worker, sweeper and replies inside the serving process, no server to install. Set by `manage.py
# demo` alone, since only there may the demo provider answer.
EMBEDDED = env.bool("SAASLLM_EMBEDDED", default=False)
DEVELOPMENT_SECRET = "development-only-not-a-secret"  # noqa: S105  (what the checks look for)
KNOWN_DEFAULT_MASTER_KEYS = frozenset(
    {"sk-admin-local-dev-change-in-production", "sk-master-key", "sk-1234", "changeme"}
)

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default=DEVELOPMENT_SECRET)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

# Keyed hash of virtual keys: changing it makes every issued key unknown, so it is not SECRET_KEY.
KEY_PEPPER = env.str("KEY_PEPPER", default=DEVELOPMENT_SECRET)
# Newest first; older ones only decrypt.
ENCRYPTION_KEYS = env.list("ENCRYPTION_KEY", default=[])
MASTER_KEY = env.str("MASTER_KEY", default="")
# Once operators have tokens of their own: the master key then admits nobody, whatever it is.
MASTER_KEY_OFF = env.bool("MASTER_KEY_OFF", default=False)
# How long operator tokens last where nothing is said, and at most.
OPERATOR_TOKEN_DAYS = env.int("OPERATOR_TOKEN_DAYS", default=90)
OPERATOR_TOKEN_MAX_DAYS = env.int("OPERATOR_TOKEN_MAX_DAYS", default=365)
if not 0 < OPERATOR_TOKEN_DAYS <= OPERATOR_TOKEN_MAX_DAYS <= 3_650:
    raise ImproperlyConfigured(
        "OPERATOR_TOKEN_DAYS must be at least 1 and at most OPERATOR_TOKEN_MAX_DAYS, which is at most 3650"
    )

REDIS_URL = env.str("REDIS_URL", default="")
# Prefixed to every Redis key of ours, so that two installations (or a test run) can share a server.
REDIS_PREFIX = env.str("REDIS_PREFIX", default="saasllm")
# Connect and socket timeout of everything that talks to Redis: it only hints, so nobody waits for it.
REDIS_TIMEOUT_S = env.float("REDIS_TIMEOUT_S", default=1.0)

LITELLM_BASE_URL = env.str("LITELLM_BASE_URL", default=env.str("LITELLM_PROXY_URL", default="")).rstrip("/")
LITELLM_MASTER_KEY = env.str("LITELLM_MASTER_KEY", default="")
# The provider model behind the platform's default alias, as LiteLLM names it; read by `provision` and `demo`.
DEFAULT_MODEL = env.str("DEFAULT_MODEL", default="")

# --- The call path -----------------------------------------------------------------------------------------

# Threads of one web process; must equal the server's own figure (granian --blocking-threads).
WEB_THREADS = env.int("WEB_THREADS", default=64)
# Read by granian itself where it is set; here only to be compared by `check --deploy`.
GRANIAN_BLOCKING_THREADS = env.int("GRANIAN_BLOCKING_THREADS", default=None)
# Waiting calls and streams may take this share of them, so that /health and complete always answer.
WAITING_SHARE = env.float("WAITING_SHARE", default=0.8)
CALL_WAIT_S = env.float("CALL_WAIT_S", default=28.0)
CALL_WAIT_MAX_S = env.float("CALL_WAIT_MAX_S", default=600.0)
CALL_DEADLINE_S = env.float("CALL_DEADLINE_S", default=600.0)
CALL_LEASE_S = env.float("CALL_LEASE_S", default=15.0)
CALL_MAX_CLAIMS = env.int("CALL_MAX_CLAIMS", default=5)
WORKER_CALLS_MAX = env.int("WORKER_CALLS_MAX", default=256)
CALLS_PER_JOB_MAX = env.int("CALLS_PER_JOB_MAX", default=1000)
VALIDATION_RETRIES = env.int("VALIDATION_RETRIES", default=2)
CHOICES_PER_CALL_MAX = env.int("CHOICES_PER_CALL_MAX", default=8)
# An unclaimed call is published again after this long, then after twice, four times … that, up to a minute.
REPUBLISH_AFTER_S = env.float("REPUBLISH_AFTER_S", default=3.0)
SWEEP_EVERY_S = env.float("SWEEP_EVERY_S", default=2.0)
ROLLUPS_EVERY_S = env.float("ROLLUPS_EVERY_S", default=60.0)
GATEWAY_CONNECT_TIMEOUT_S = env.float("GATEWAY_CONNECT_TIMEOUT_S", default=5.0)
GATEWAY_TIMEOUT_S = env.float("GATEWAY_TIMEOUT_S", default=300.0)
GATEWAY_MAX_ANSWER_BYTES = env.int("GATEWAY_MAX_ANSWER_BYTES", default=20_000_000)
JOB_ABANDONED_AFTER_H = env.float("JOB_ABANDONED_AFTER_H", default=24.0)
PAYLOAD_RETENTION_H = env.float("PAYLOAD_RETENTION_H", default=24.0)
ATTACH_WINDOW_S = env.float("ATTACH_WINDOW_S", default=600.0)
EMBEDDED_WORKER_THREADS = env.int("EMBEDDED_WORKER_THREADS", default=32)

# Whether the name in a credential's api_base may stand for an address of our own network.
PROVIDERS_MAY_BE_INTERNAL = env.bool("PROVIDERS_MAY_BE_INTERNAL", default=False)
# Whether messages may name media by http(s) URLs, which providers (or LiteLLM) fetch: allow or refuse.
MEDIA_URLS = env.str("MEDIA_URLS", default="allow")

# How many proxies of ours stand in front, each adding the peer it saw to X-Forwarded-For. 0: the header is anybody's
# word and is not read.
TRUSTED_PROXIES = env.int("TRUSTED_PROXIES", default=0)

# --- Limits on what comes in -------------------------------------------------------------------------------

MAX_BODY_BYTES = env.int("MAX_BODY_BYTES", default=20_000_000)
MAX_JSON_DEPTH = env.int("MAX_JSON_DEPTH", default=64)
METADATA_MAX_BYTES = env.int("METADATA_MAX_BYTES", default=10_240)
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES

# --- Credits -----------------------------------------------------------------------------------------------

DEFAULT_CREDITS_PER_JOB = env.int("DEFAULT_CREDITS_PER_JOB", default=1)
# How far below zero an operator may let a team's wallet be spent, in credits.
CREDIT_LINE_MAX_CREDITS = env.int("CREDIT_LINE_MAX_CREDITS", default=10_000)
# What support may give in one refund or promotional grant, in credits.
SUPPORT_CREDITS_MAX = env.int("SUPPORT_CREDITS_MAX", default=0)
# How long credits stay that are refunded after the lot that paid has expired.
REFUND_GRACE_DAYS = env.int("REFUND_GRACE_DAYS", default=30)
# What a credit is taken to be worth in reports where no paid grant says.
try:
    CREDIT_LIST_PRICE_USD = Decimal(env.str("CREDIT_LIST_PRICE_USD", default="0.10"))
    CREDIT_LIST_PRICE_NANOUSD = int(CREDIT_LIST_PRICE_USD * 10**9)
except (ArithmeticError, ValueError) as error:
    raise ImproperlyConfigured("CREDIT_LIST_PRICE_USD cannot be read: it is no decimal number") from error
# Output tokens assumed for a metered call whose caller and model both name no cap.
DEFAULT_MAX_OUTPUT_TOKENS = env.int("DEFAULT_MAX_OUTPUT_TOKENS", default=4096)


def _nanousd(name: str, usd: str) -> int:
    """Dollars as exact nano-dollars. Raises: ImproperlyConfigured."""
    try:
        nanousd = Decimal(usd) * 10**9
        if 0 <= nanousd < 10**15 and nanousd == int(nanousd):
            return int(nanousd)
    except (InvalidOperation, ValueError, OverflowError):
        pass
    raise ImproperlyConfigured(f"{name} must be dollars per million tokens, from 0 to below 1000000, with 9 decimals")


# Models without a price: "refuse" them to jobs metered in USD, or charge an "estimate".
UNPRICED_MODELS = env.str("UNPRICED_MODELS", default="refuse")
if UNPRICED_MODELS not in ("refuse", "estimate"):
    raise ImproperlyConfigured('UNPRICED_MODELS must be "refuse" or "estimate"')
UNPRICED_INPUT_NANOUSD_PER_MTOK = _nanousd(
    "UNPRICED_INPUT_USD_PER_MTOK", env.str("UNPRICED_INPUT_USD_PER_MTOK", default="1.00")
)
UNPRICED_OUTPUT_NANOUSD_PER_MTOK = _nanousd(
    "UNPRICED_OUTPUT_USD_PER_MTOK", env.str("UNPRICED_OUTPUT_USD_PER_MTOK", default="2.00")
)

# --- Limits ------------------------------------------------------------------------------------------------

# What becomes of calls with rate limits while Redis, which counts them, is away. Limits of spend are in the database.
RATE_LIMITS_WHEN_REDIS_IS_DOWN = env.str("RATE_LIMITS_WHEN_REDIS_IS_DOWN", default="allow")
if RATE_LIMITS_WHEN_REDIS_IS_DOWN not in ("allow", "refuse"):
    raise ImproperlyConfigured("RATE_LIMITS_WHEN_REDIS_IS_DOWN must be allow or refuse")
DECISION_RETENTION_DAYS = env.int("DECISION_RETENTION_DAYS", default=30)
# --- Payments: without both of the first two the endpoints say that payments are not configured ---------------

STRIPE_SECRET_KEY = env.str("STRIPE_SECRET_KEY", default="")
# Several while one is rotated: an event signed with any of them is believed.
STRIPE_WEBHOOK_SECRETS = [
    secret.strip() for secret in env.list("STRIPE_WEBHOOK_SECRET", default=[]) if secret.strip()
]
STRIPE_API_BASE = env.str("STRIPE_API_BASE", default="https://api.stripe.com")

# --- Django ------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    # Before the admin, whose templates it replaces. Its default configuration would put its own site in ours' place.
    "unfold.apps.BasicAppConfig",
    "apps.console.admin_config.ConsoleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "corsheaders",
    "rest_framework",
    # Files of Swagger UI and Redoc, so that no page asks another host for them.
    "drf_spectacular_sidecar",
    "apps.core",
    "apps.organizations",
    "apps.teams",
    "apps.catalog",
    "apps.virtual_keys",
    "apps.credits",
    "apps.provisioning",
    "apps.limits",
    "apps.payments",
    "apps.jobs",
    "apps.analytics",
    "apps.api",
    "apps.openai_compat",
    "apps.console",
    "allauth",
    "apps.console.signing_in.apps.AccountsConfig",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.mfa",
    "allauth.usersessions",
    "apps.console.signing_in.apps.SigningInConfig",
    "apps.openapi",
    "saasllm.apps.SaasllmConfig",
]

MIDDLEWARE = [
    "apps.api.middleware.RequestIdMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "apps.console.signing_in.middleware.SigningInMiddleware",
    "apps.console.middleware.ConsoleMiddleware",
]

ROOT_URLCONF = "saasllm.urls"
WSGI_APPLICATION = "saasllm.wsgi.application"
APPEND_SLASH = False
AUTH_USER_MODEL = "organizations.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGIN_URL = "/admin/login/"
LOGIN_REDIRECT_URL = "/admin/"
LOGOUT_REDIRECT_URL = LOGIN_URL

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

UNFOLD = {
    "SITE_TITLE": "SaaS LiteLLM",
    "SITE_HEADER": "SaaS LiteLLM",
    "SITE_URL": None,
    "SITE_SYMBOL": "token",
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "/static/console/icon.svg"}],
    "STYLES": ["/static/console/console.css"],
    "SCRIPTS": ["/static/console/console.js"],
    "COMMAND": {"search_models": False, "show_history": False},
}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]


def _database() -> dict[str, Any]:
    """The one database. SQLite for a laptop, PostgreSQL for anything real.

    Raises: ImproperlyConfigured when DATABASE_URL names another engine or cannot be read.
    """
    url = env.str("DATABASE_URL", default=f"sqlite:///{BASE_DIR / 'var' / 'db.sqlite3'}")
    try:
        config: dict[str, Any] = Env.db_url_config(url)
    except Exception as error:
        raise ImproperlyConfigured(
            "DATABASE_URL cannot be read: expected postgres://user:pass@host:port/name"
        ) from error
    engine = config.get("ENGINE", "")
    options: dict[str, Any] = dict(config.get("OPTIONS") or {})
    if engine.endswith("sqlite3"):
        options |= {
            # Readers never block the writer; writers queue for the lock at BEGIN instead of failing at COMMIT.
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            # Without recursive_triggers REPLACE would delete ledger rows past the triggers that refuse it.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;"
            " PRAGMA recursive_triggers=ON;",
        }
        # A file, not shared memory: threads of a test need the locking that production has.
        config["TEST"] = {
            "NAME": str(BASE_DIR / "var" / f"test{env.str('TEST_DATABASE_SUFFIX', default='')}.sqlite3")
        }
    elif engine.endswith("postgresql"):
        options |= {
            "pool": {
                "min_size": env.int("DB_POOL_MIN", default=1),
                "max_size": env.int("DB_POOL_MAX", default=20),
                "timeout": env.float("DB_POOL_TIMEOUT_S", default=10.0),
            },
            "connect_timeout": 5,
            # A server that vanished without a word is noticed within half a minute, not in hours.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,
            # Parsing and planning are half of what PostgreSQL spends on the call path's short statements. To be
            # switched off behind a PgBouncer in transaction mode, where a plan is looked for on another server.
            "server_side_binding": env.bool("DB_PREPARED_STATEMENTS", default=True),
            "prepare_threshold": 5 if env.bool("DB_PREPARED_STATEMENTS", default=True) else None,
            "application_name": "saasllm",
        }
    else:
        raise ImproperlyConfigured("DATABASE_URL must be postgres://… or sqlite:///…")
    return {**config, "OPTIONS": options, "CONN_MAX_AGE": 0, "ATOMIC_REQUESTS": False}


DATABASES = {"default": _database()}

# Hints alone: rates of attempts to sign in. In memory it is one process's, which is all there are without Redis.
CACHES = {
    "default": {
        "BACKEND": "apps.core.cache.HintingRedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": f"{REDIS_PREFIX}:cache",
        "OPTIONS": {
            "socket_timeout": REDIS_TIMEOUT_S,
            "socket_connect_timeout": REDIS_TIMEOUT_S,
            "retry": Retry(NoBackoff(), 0),
        },
    }
    if REDIS_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
}

# --- Signing in (docs/signing-in.md): django-allauth, with our rules in apps/console/signing_in -----------------

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = env.bool("COOKIES_SECURE", default=False)
CSRF_COOKIE_SECURE = SESSION_COOKIE_SECURE
AUTHENTICATION_BACKENDS = ["apps.console.signing_in.adapter.PasswordBackend"]
# Minutes without a request after which a session ends; where it is set, the console cannot change it.
SESSION_IDLE_MIN = env.int("SESSION_IDLE_MIN", default=None)
# The longest idle time that can be set, and a bit: sessions end by idleness, or with the browser.
SESSION_COOKIE_AGE = 25 * 3600
ACCOUNT_ADAPTER = "apps.console.signing_in.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_SESSION_REMEMBER = False
# Our own ends the other sessions and keeps this one.
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = False
ACCOUNT_RATE_LIMITS = {
    "login": "30/m/ip",
    "login_failed": "20/m/ip,5/5m/key",
    "setup": "10/5m/ip,60/h/key",
    "change_password": "5/m/user",
    "reauthenticate": "10/m/user",
}
MFA_ADAPTER = "apps.console.signing_in.adapter.MFAAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_RECOVERY_CODES_SHOW_ONCE = True
# Operators are named by operators: nobody can enter with an e-mail that is not theirs.
MFA_ALLOW_UNVERIFIED_EMAIL = True
# Browsers have passkeys over http for localhost alone.
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not SESSION_COOKIE_SECURE
USERSESSIONS_ADAPTER = "apps.console.signing_in.adapter.SessionsAdapter"
SOCIALACCOUNT_ADAPTER = "apps.console.signing_in.adapter.SocialAccountAdapter"
SOCIALACCOUNT_EMAIL_AUTHENTICATION = True
# A link, since a content security policy's form-action would not let a form lead to the provider.
SOCIALACCOUNT_LOGIN_ON_GET = True
SOCIALACCOUNT_STORE_TOKENS = False


def _oidc_providers() -> list[dict[str, Any]]:
    """Who vouches for operators, as allauth wants it. Raises: ImproperlyConfigured."""
    wanted = ("id", "name", "issuer", "client_id", "client_secret")
    given = env.json("OIDC_PROVIDERS", default=[])
    if not isinstance(given, list) or not all(
        isinstance(each, dict) and set(each) == set(wanted) and all(isinstance(each[key], str) for key in wanted)
        for each in given
    ):
        raise ImproperlyConfigured(
            f"OIDC_PROVIDERS must be a JSON list of objects with the texts {', '.join(wanted)}"
        )
    return [
        {
            "provider_id": each["id"],
            "name": each["name"],
            "client_id": each["client_id"],
            "secret": each["client_secret"],
            "settings": {"server_url": each["issuer"].rstrip("/")},
        }
        for each in given
    ]


OIDC_APPS = _oidc_providers()
SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"OAUTH_PKCE_ENABLED": True, "APPS": OIDC_APPS}}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
# In the admin: which second it was matters in a ledger.
DATETIME_FORMAT = "Y-m-d H:i:s"

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
# Served from the apps themselves, so that a fresh clone needs no collectstatic.
WHITENOISE_USE_FINDERS = True

SECURE_SSL_REDIRECT = env.bool("SSL_REDIRECT", default=False)
# Probes come by plain HTTP from beside the process and take a redirect for a failure.
SECURE_REDIRECT_EXEMPT = [r"^(health|livez|readyz)$"]
SECURE_HSTS_SECONDS = env.int("HSTS_SECONDS", default=0)
SECURE_PROXY_SSL_HEADER = (
    ("HTTP_X_FORWARDED_PROTO", "https") if env.bool("TRUST_FORWARDED_PROTO", default=False) else None
)
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"

CORS_ALLOWED_ORIGINS = [
    origin.strip().rstrip("/")
    for origin in [
        *env.list(
            "CORS_ALLOWED_ORIGINS",
            default=[
                "http://localhost:3002",
                "http://127.0.0.1:3002",
                "http://localhost:3001",
                "http://127.0.0.1:3001",
            ],
        ),
        env.str("ADMIN_PANEL_URL", default=""),
        *env.list("ADDITIONAL_CORS_ORIGINS", default=[]),
    ]
    if origin.strip()
]
CORS_ALLOW_CREDENTIALS = True
CORS_URLS_REGEX = r"^/(api|v1)/.*$"
CORS_ALLOW_HEADERS = (
    "accept",
    "authorization",
    "content-type",
    "idempotency-key",
    "prefer",
    "user-agent",
    "x-admin-key",
    "x-csrftoken",
    "x-job-id",
    "x-job-type",
    "x-requested-with",
    # What OpenAI's client says of itself.
    "x-stainless-arch",
    "x-stainless-async",
    "x-stainless-custom-poll-interval",
    "x-stainless-helper-method",
    "x-stainless-lang",
    "x-stainless-os",
    "x-stainless-package-version",
    "x-stainless-poll-helper",
    "x-stainless-read-timeout",
    "x-stainless-retry-count",
    "x-stainless-runtime",
    "x-stainless-runtime-version",
    "x-stainless-timeout",
)
CORS_EXPOSE_HEADERS = (
    "idempotency-replayed",
    "link",
    "retry-after",
    "x-total-count",
    "x-job-id",
    "x-call-id",
    "x-ratelimit-limit-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
    "x-request-id",
    "x-saasllm-call-id",
    "x-saasllm-credits-charged",
    "x-saasllm-credits-remaining",
    "x-saasllm-job-id",
    "x-should-retry",
)

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_PARSER_CLASSES": ["apps.api.parsing.JSONBodyParser"],
    "DEFAULT_RENDERER_CLASSES": ["apps.api.rendering.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "apps.api.rendering.AlwaysJSON",
    "EXCEPTION_HANDLER": "apps.api.errors.handle_exception",
    "UNAUTHENTICATED_USER": None,
    "UNAUTHENTICATED_TOKEN": None,
}

# --- Celery: ids only, never payloads or money; the database knows what is due ------------------------------

CELERY_BROKER_URL = REDIS_URL or "memory://localhost/"
if REDIS_URL:
    CELERY_BROKER_TRANSPORT = "apps.jobs.broker:Transport"
CELERY_TASK_DEFAULT_QUEUE = f"{REDIS_PREFIX}.calls"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_STORE_ERRORS_EVEN_IF_IGNORED = False
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_TASK_SEND_SENT_EVENT = False
CELERY_TASK_CREATE_MISSING_QUEUES = True
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_CONNECTION_TIMEOUT = REDIS_TIMEOUT_S
CELERY_BROKER_POOL_LIMIT = WEB_THREADS
CELERY_TIMEZONE = "UTC"
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = (
    {"polling_interval": 0.02}
    if CELERY_BROKER_URL.startswith("memory:")
    else {
        # Above the longest call: a shorter one delivers a running call twice (the claim would refuse it, but
        # for nothing). Kombu's default of 10 connections throttles a worker to 20 tasks a second.
        "visibility_timeout": int(CALL_DEADLINE_S) + 600,
        "max_connections": 200,
        "socket_timeout": REDIS_TIMEOUT_S,
        "socket_connect_timeout": REDIS_TIMEOUT_S,
        # One try a publish: kombu would sleep two seconds before a second one, in the thread of a caller.
        "max_retries": 0,
        "health_check_interval": 10,
        "global_keyprefix": f"{REDIS_PREFIX}:",
    }
)
# Sweeps are not among them: beat makes them itself, every SWEEP_EVERY_S, whatever Redis and the workers do.
CELERY_BEAT_SCHEDULE = {
    "verify": {"task": "credits.verify", "schedule": 3600.0, "options": {"expires": 600}},
    "rollups": {"task": "analytics.fill_rollups", "schedule": ROLLUPS_EVERY_S, "options": {"expires": 60}},
}

# --- Logs: one line a state change, ids and numbers, never a prompt, a reply or a secret ---------------------

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env.str("LOG_LEVEL", default="WARNING")},
    "loggers": {
        # A refused request is an answer, not an incident.
        "django.request": {"level": "ERROR"},
        # Anybody can send a wrong Host; it is answered with 400.
        "django.security.DisallowedHost": {"level": "CRITICAL"},
        "saasllm": {"level": env.str("LOG_LEVEL", default="WARNING")},
    },
}
