# The shop as a container: the web server where nothing else is said, or what long works at a queue. docs/container.md
# says how it is made and run. No secret is in it: it reads its own by ARN, with the role that it is given.

FROM python:3.13.14-slim-trixie AS packages
COPY requirements/container.txt /requirements.txt
# Wheels only: nothing of theirs is run while they are installed. The environment has no pip to install more with.
RUN python -m venv --without-pip /venv \
 && python -m pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check \
    --require-hashes --no-deps --only-binary :all: --requirement /requirements.txt

FROM python:3.13.14-slim-trixie
# What /healthz calls it: the commit.
ARG RELEASE
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=vibecode.settings \
    WEB_CONCURRENCY=2 \
    WEB_THREADS=8
RUN groupadd --system --gid 10001 shop \
 && useradd --system --uid 10001 --gid shop --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin shop
WORKDIR /app
COPY --from=packages /venv /venv
COPY accounts/ accounts/
COPY catalog/ catalog/
COPY orders/ orders/
COPY vibecode/ vibecode/
# Bytecode and static files are made here, as root: whoever runs it can write none of them. The settings are a stage's
# own where it runs; these let the static files be found, and are kept nowhere.
RUN test -n "$RELEASE" && printf '%s\n' "$RELEASE" > vibecode/release.txt \
 && STAGE=dev AWS_REGION=eu-north-1 AWS_ACCOUNT_ID=000000000000 PUBLIC_URL=https://shop.example \
    DATABASE_URL=postgresql://nobody@127.0.0.1/none SECRETS_ARN=arn:aws:secretsmanager:eu-north-1:000000000000:secret:none \
    COGNITO_USER_POOL_ID=none COGNITO_CLIENT_ID=none COGNITO_DOMAIN=https://sign-in.shop.example OIDC_CLIENT_ID=none \
    MEDIA_BUCKET=none MAIL_FROM="Shop <orders@shop.example>" \
    python -m django collectstatic --no-input --verbosity 0 --ignore redoc --ignore "*es-bundle*" --ignore rest_framework \
 && python -m compileall -q --invalidation-mode unchecked-hash /app /venv/lib
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
# Its heartbeat is in memory: the file system may be read-only. ECS and systemd wait longer than it takes to end.
CMD ["sh", "-c", "exec gunicorn vibecode.wsgi:application --bind 0.0.0.0:8000 --worker-class gthread --workers $WEB_CONCURRENCY --threads $WEB_THREADS --timeout 30 --graceful-timeout 25 --keep-alive 75 --preload --no-control-socket --worker-tmp-dir /dev/shm --log-level warning"]
