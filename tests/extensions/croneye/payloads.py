"""Payloads that no scheduler sends."""

IMPOSSIBLE = [
    {"event_code": 1},
    {"event_code": 1, "alias": None},
    {"event_code": 2, "alias": ""},
    {"event_code": 4, "alias": []},
    {"event_code": 8, "alias": True},
    {"event_code": 512, "job_id": 1},
    {"event_code": 512, "job_id": 1, "task": None},
    {"event_code": 512, "task": "t"},
    {"event_code": 512, "job_id": None, "task": "t"},
    {"event_code": 1024},
    {"event_code": 1024, "job_id": ""},
    {"event_code": 4096, "job_id": 1.5},
    {"event_code": 4096, "job_id": {}},
    {"event_code": 4096, "job_id": True},
    {"event_code": 32768},
    {"event_code": 65536, "job_id": None},
    *(
        {"event_code": code, "job_id": 1, key: value}
        for code, key in [(4096, "time"), (8192, "time"), (16384, "time"), (32768, "next_scheduled_run_time")]
        for value in ("abc", "", [], {}, True, -1, 1e15, "1e3", "nan", "2023-13-01", "1969-12-31T23:59:59Z")
    ),
]
