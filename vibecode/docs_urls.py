"""The API's description, and its pages for eyes. Loaded by vibecode.urls when the first one is asked for."""

from django.urls import path

from vibecode.describing import describe_views
from vibecode.openapi import Docs, Problems, Schema

describe_views()  # vibecode.urls has loaded all of them

urlpatterns = [
    path("schema", Schema.as_view(), name="schema"),
    path("docs", Docs.as_view(url_name="schema"), name="docs"),
    path("problems", Problems.as_view(), name="problems"),
]
