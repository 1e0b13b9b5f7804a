"""The media bucket of the local AWS, its objects kept in a Memory. Used by aws.py."""

import functools
import threading
from collections.abc import Callable
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import FakeKey, S3Backend, s3_backends

from vibecode.local.aws_memory import Memory
from vibecode.local.names import MEDIA_BUCKET, REGION
from vibecode.local.ports import HOST
from vibecode.resources import bucket_cors, bucket_lifecycle

PAGES = [f"{scheme}://{host}:*" for scheme in ("http", "https") for host in (HOST, "localhost")]


class Media:
    """The bucket; every object put, copied, changed or deleted is written down before the answer leaves."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._touched = threading.local()
        self._backend: S3Backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        self._backend.create_bucket(MEDIA_BUCKET, REGION)
        self._apply_rules()
        self._restore()
        self._listen()

    def _apply_rules(self) -> None:
        """Who may post from where, and what is forgotten: as the stacks have it, in moto's words."""
        cors = [
            {
                "AllowedOrigin": rule["AllowedOrigins"],
                "AllowedMethod": rule["AllowedMethods"],
                "AllowedHeader": rule["AllowedHeaders"],
                "MaxAgeSeconds": str(rule["MaxAgeSeconds"]),
            }
            for rule in bucket_cors(PAGES)
        ]
        self._backend.put_bucket_cors(MEDIA_BUCKET, cors)
        self._backend.put_bucket_lifecycle_configuration(MEDIA_BUCKET, bucket_lifecycle())

    def flush(self) -> None:
        """Write what this thread's request changed."""
        touched: set[str] = self._touched.__dict__.pop("keys", set())
        bucket = self._backend.get_bucket(MEDIA_BUCKET) if touched else None
        for name in touched:
            key = bucket.keys.get(name) if bucket else None
            if isinstance(key, FakeKey):
                self._memory.save_object(MEDIA_BUCKET, name, self._record(key), key.value)
            else:
                self._memory.forget_object(MEDIA_BUCKET, name)

    def _record(self, key: FakeKey) -> dict[str, Any]:
        return {
            "metadata": dict(key.metadata),
            "etag": key.etag.strip('"'),
            "tags": self._backend.tagger.get_tag_dict_for_resource(key.arn),
        }

    def _restore(self) -> None:
        for bucket, name, record, body in self._memory.objects():
            if bucket == MEDIA_BUCKET:
                key = self._backend.put_object(bucket, name, body, etag=record["etag"], disable_notification=True)
                key.set_metadata(record["metadata"])
                if record["tags"]:
                    self._backend.put_object_tagging(key, record["tags"])

    def _listen(self) -> None:
        """From now on every call that changes an object is noticed."""

        def touch(bucket: str | None, key: str) -> None:
            if bucket == MEDIA_BUCKET:
                self._touched.__dict__.setdefault("keys", set()).add(key)

        def note(name: str, where: Callable[..., tuple[str | None, str]]) -> None:
            original = getattr(S3Backend, name)

            @functools.wraps(original)
            def call(backend: S3Backend, *arguments: Any, **named: Any) -> Any:
                result = original(backend, *arguments, **named)
                touch(*where(*arguments, **named))
                return result

            setattr(S3Backend, name, call)

        def by_name(bucket_name: str, key_name: str, *_: object, **__: object) -> tuple[str, str]:
            return bucket_name, key_name

        def by_key(key: FakeKey, *_: object, **__: object) -> tuple[str | None, str]:
            return key.bucket_name, key.name

        # copies and multipart uploads end in put_object, many deletions in delete_object
        note("put_object", by_name)
        note("delete_object", by_name)
        note("put_object_tagging", by_key)
