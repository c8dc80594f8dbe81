"""What the kit builds upon in procrastinate: a release that changes it has to be looked at before it is used."""

from hashlib import sha256

import pytest
from procrastinate import sql
from procrastinate.schema import SchemaManager

QUERIES = {
    "cancel_job": "ef28571fbeed",
    "check_connection": "577b1550697e",
    "count_jobs_status": "97dd9cdc868b",
    "defer_jobs": "9866d38e4359",
    "defer_periodic_job": "ea6b04988ac3",
    "delete_old_jobs": "c41e060c16f8",
    "fetch_job": "cdfaf3640359",
    "finish_job": "46012253eb46",
    "get_job_status": "30cbd8bf3791",
    "list_jobs": "d8fa0c0e347b",
    "list_jobs_to_abort": "b414dbd1ebe8",
    "list_locks": "1030fb4aff39",
    "list_queues": "f9663f947918",
    "list_tasks": "1e2eb53a9a9c",
    "listen_queue": "726d96acb447",
    "prune_stalled_workers": "20ea599ae729",
    "register_worker": "c1f586449d9e",
    "retry_job": "8e4ad4efcf83",
    "select_stalled_jobs_by_heartbeat": "5ed3078a15a4",
    "select_stalled_jobs_by_started": "f915b7b120c1",
    "unregister_worker": "5d457810260d",
    "update_heartbeat": "20072135a408",
}


def digest(text):
    return sha256(text.encode()).hexdigest()[:12]


def test_the_queries_are_those_that_the_sqlite_connector_answers():
    assert {name: digest(text) for name, text in sql.queries.items()} == QUERIES


def test_the_functions_are_those_whose_rules_the_kits_own_follow():
    assert digest(SchemaManager.get_schema()) == "c70ec4b400a6"


@pytest.mark.parametrize("name", ["defer_periodic_job", "delete_old_jobs", "select_stalled_jobs_by_started"])
def test_a_query_that_deliveries_do_not_need_says_so_on_sqlite(jobs, name):
    with pytest.raises(NotImplementedError, match=name):
        jobs.execute(name)
