"""Workers of one import killed in the middle, and side by side: every row is done once."""

import json
import os
import signal
import subprocess
import sys
import uuid
from functools import partial

import psycopg
from django.db import connection

from accounts.services import register_user, take_over_groups
from catalog.models import Product, StockMovement
from catalog.services import audit_counters
from tests.in_process import shelf
from tests.over_http import Shop, together, wait_for_a_waiter
from vibecode.jobs import on_message
from vibecode.jobs.kinds import kind_of
from vibecode.jobs.running import begin_job, chunks_of, make_job
from vibecode.local.folder import REPOSITORY
from vibecode.models import Job
from vibecode.rights import Actor

WORKER = "import json, sys, django; django.setup(); import vibecode.jobs as j; j.on_message(json.loads(sys.argv[1]))"


def an_import(*products: Product, rows: int) -> Job:
    """An import that has begun: one unit more of each product, in turn."""
    user = take_over_groups(user=register_user(sub=f"clerk-{uuid.uuid4().hex}", email=""), groups=["warehouse"])
    actor = Actor.person(user.cognito_sub, ["warehouse"])
    data = [{"sku": products[n * len(products) // rows].sku, "delta": "1", "reason": "delivery"} for n in range(rows)]
    job = make_job(kind="import-stock", rows=data, actor=actor)
    begin_job(job=job, actor=actor)
    return job


def messages_of(job: Job) -> list[dict[str, int]]:
    """What the queue is given of it, now."""
    return list(chunks_of(job, kind_of(job.kind)))


def start_worker(shop: Shop, message: dict[str, int]) -> subprocess.Popen[bytes]:
    """A process that does one message, as a function of Lambda does."""
    environment = {**os.environ, "DATABASE_URL": shop.server.database_url}
    command = [sys.executable, "-c", WORKER, json.dumps(message)]
    return subprocess.Popen(command, cwd=REPOSITORY, env=environment)


def test_a_worker_killed_in_the_middle_of_an_import_loses_its_chunk_alone_and_another_goes_on(shop: Shop) -> None:
    first, second, held = (shop.product(on_hand=1) for _ in range(3))
    job = an_import(first, second, held, rows=600)
    messages = messages_of(job)
    assert len(messages) == 3
    assert start_worker(shop, messages[0]).wait(timeout=60) == 0
    with psycopg.connect(shop.server.database_url) as holder:
        holder.execute("SELECT 1 FROM catalog_stock WHERE product_id = %s FOR UPDATE", [held.pk])
        worker = start_worker(shop, {"job": job.pk, "first": 300, "last": 500})  # half of its rows can be done
        try:
            wait_for_a_waiter(held)
        finally:
            os.kill(worker.pid, signal.SIGKILL)
            worker.wait(timeout=30)

    job.refresh_from_db()
    assert (job.state, job.done) == ("running", 200)
    assert [shelf(product) for product in (first, second, held)] == [(201, 0), (1, 0), (1, 0)]
    for message in [*messages, *messages_of(job)]:
        on_message(message)
    job.refresh_from_db()
    assert (job.state, job.done, job.bad) == ("done", 600, 0)
    assert [shelf(product) for product in (first, second, held)] == [(201, 0)] * 3
    references = StockMovement.objects.filter(reference__startswith=f"job {job.pk} ").values_list("reference")
    assert len(set(references)) == len(references) == 600
    assert audit_counters() == []


def test_workers_side_by_side_with_every_message_twice_do_each_row_once(shop: Shop) -> None:
    products = [shop.product(on_hand=1) for _ in range(2)]
    job = an_import(*products, rows=400)
    twice = [message for message in messages_of(job) for _ in range(3)]

    together([partial(_work, message) for message in twice])

    for message in messages_of(job):  # whose chunk stood behind another one's lock
        on_message(message)
    job.refresh_from_db()
    assert (job.state, job.done, job.bad) == ("done", 400, 0)
    assert [shelf(product) for product in products] == [(201, 0)] * 2
    assert audit_counters() == []


def _work(message: dict[str, int]) -> None:
    try:
        on_message(message)
    finally:
        connection.close()
