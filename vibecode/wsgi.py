"""The WSGI application: what gunicorn serves on a laptop and Zappa on Lambda."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "vibecode.settings")
application = get_wsgi_application()
