"""Event log: its filters, unknown entries, and masked keys."""

import json

import pytest

from tests.extensions.eventhos.making import World, ended
from tests.extensions.eventhos.managing import LARGEST_OF_PATH
from tests.support.receivers import reply


class TestFilters:
    def test_filters(self, world, receiver, working):
        there = receiver(answer=lambda request: reply(500 if b"bad" in request.body else 200))
        world.add_contract(there.url("/", "127.0.0.1"))
        other = World(world.api, key="another-key")
        with working(world.api):
            world.send("good")
            world.send("bad")
            good, bad = ended(world, 2)
        other.send({})
        third = world.log()[0]

        def found(**query):
            return [row["id"] for row in world.api.ask("GET", "/event/received", **query)["content"]["items"]]

        assert found() == [third["id"], bad["id"], good["id"]]
        assert found(order="asc") == [good["id"], bad["id"], third["id"]]
        assert found(state="error") == [bad["id"]]
        assert found(state="processed") == [good["id"]]
        assert found(state="aborted") == found(state="retried") == []
        assert found(idSearch=good["id"]) == [good["id"]]
        assert found(eventIdentifierSearch=other.identifier) == [third["id"]]
        assert found(systemId=other.system) == [third["id"]]
        assert found(fromTime=bad["receivedAt"], toTime=bad["receivedAt"]) == [bad["id"]]
        assert found(itemsPerPage=1, pageIndex=1) == [bad["id"]]
        assert found(itemsPerPage=10**9, pageIndex=10**9) == []
        assert found(itemsPerPage="x", pageIndex=-1, order="no") == [third["id"], bad["id"], good["id"]]
        page = world.api.ask("GET", "/event/received", itemsPerPage=2)["content"]
        assert {key: page[key] for key in page if key != "items"} == {
            "pageIndex": 0,
            "itemsPerPage": 2,
            "totalItems": 3,
            "totalPages": 2,
        }

    @pytest.mark.parametrize(
        "query",
        [{"systemId": "x"}, {"idSearch": 2**63}, {"state": "no"}, {"fromTime": "yesterday"}, {"toTime": "9" * 30}]
        + [{"systemId": "٣"}, {"idSearch": "٣"}, {"fromTime": "٣"}, {"toTime": "1_0"}]
        + [{name: "9999-12-31T23:59:59-14:00"} for name in ("fromTime", "toTime")],
    )
    def test_bad_filters_are_refused(self, api, query):
        api.refused("GET", "/event/received", status=400, code=400209, **query)

    @pytest.mark.parametrize(
        ("path", "code"),
        [
            ("/event/received", 404206),
            ("/event/received/execution-detail", 404203),
            ("/received/execution-detail", 404203),
        ],
    )
    def test_unknown(self, api, path, code):
        for id in (0, 1, LARGEST_OF_PATH):
            assert f" {id}." in api.refused("GET", f"{path}/{id}", status=404, code=code)

    def test_masked_keys(self, make_api, receiver, working):
        world = World(make_api(EXTENSION_EVENTHOS_MASKED="password, Token"))
        there = receiver()
        world.add_contract(there.url("/?token=${.body.a[0].TOKEN}", "127.0.0.1"))
        with working(world.api):
            world.send({"a": [{"TOKEN": "hidden-1"}], "password": "hidden-2"})
            (row,) = ended(world, 1)
        event = world.api.ask("GET", f"/event/received/{row['id']}")
        assert "hidden" not in json.dumps([event, world.execution(world.executions(row["id"])[0]["detailId"])])
        assert there.requests[0].path == "/?token=hidden-1"
