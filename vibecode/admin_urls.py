"""The admin's addresses. Loaded by vibecode.urls when the first is asked for, and with it every page of the desk."""

from django.contrib import admin

admin.autodiscover()
urlpatterns, app_name, _ = admin.site.urls
