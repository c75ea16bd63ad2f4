"""A generic gRPC client, generated from eventbus.proto, with an Avro library: topics, schemas, change events, publishing."""

import io
import json
import queue
import sys
from pathlib import Path
from urllib.parse import urlsplit

# This file's own folder would hide the library behind its name.
sys.path.pop(0)

import fastavro
import grpc
from grpc_tools import protoc
from judge import Judge, refused

API = "/services/data/v65.0"
ACCOUNTS = "/data/AccountChangeEvent"
ORDERS = "/event/Order_Event__e"
CALL_SECONDS = 30
BULK_ROWS = 250
# The bytes of it are no replay id of any org.
CORRUPT = b"no replay id"

judge = Judge()
org = judge.org("events")


def generated():
    here = Path(__file__).resolve().parent.parent
    code = protoc.main(["protoc", f"-I{here}", "--python_out=.", "--grpc_python_out=.", str(here / "eventbus.proto")])
    assert code == 0, code
    sys.path.insert(0, ".")
    import eventbus_pb2
    import eventbus_pb2_grpc

    return eventbus_pb2, eventbus_pb2_grpc


messages, services = generated()
channel = grpc.secure_channel(urlsplit(org.pubsub_https_url).netloc, grpc.ssl_channel_credentials(Path(judge.ca).read_bytes()))
stub = services.PubSubStub(channel)


def metadata(token=None):
    return (("accesstoken", token or org.token), ("instanceurl", org.https_url), ("tenantid", org.org_id))


def trailer(error):
    return dict(error.trailing_metadata())["error-code"].removeprefix("sfdc.platform.eventbus.grpc.")


class Schemas:
    """Schemas by id, for ever."""

    known = {}

    @classmethod
    def get(cls, schema_id):
        if schema_id not in cls.known:
            info = stub.GetSchema(messages.SchemaRequest(schema_id=schema_id), metadata=metadata(), timeout=CALL_SECONDS)
            cls.known[schema_id] = fastavro.parse_schema(json.loads(info.schema_json))
        return cls.known[schema_id]


class Event:
    """One delivered event: its header, and its body's values."""

    def __init__(self, delivered):
        self.replay_id = delivered.replay_id
        self.schema = Schemas.get(delivered.event.schema_id)
        self.body = fastavro.schemaless_reader(io.BytesIO(delivered.event.payload), self.schema)
        self.header = self.body.pop("ChangeEventHeader", None)

    def named(self, bitmaps):
        """Names of the fields whose bits are set, least significant first; a part of a compound under its path."""
        fields, names = self.schema["fields"], set()

        def bits(text):
            value = int(text, 16)
            return [n for n in range(value.bit_length()) if value >> n & 1]

        for bitmap in bitmaps:
            parent, _, own = bitmap.rpartition("-")
            if parent:
                compound = fields[int(parent)]
                record = next(kind for kind in compound["type"] if isinstance(kind, dict))
                names |= {f"{compound['name']}.{record['fields'][n]['name']}" for n in bits(own)}
            else:
                names |= {fields[n]["name"] for n in bits(own)}
        return names


class Subscription:
    """A pull subscription: what is asked for comes, and no more."""

    def __init__(self, topic, preset="LATEST", replay_id=b"", call=None, token=None):
        self.requests = queue.SimpleQueue()
        self.first = {"topic_name": topic, "replay_preset": preset, "replay_id": replay_id}
        self.answers = (call or stub.Subscribe)(iter(self.requests.get, None), metadata=metadata(token), timeout=CALL_SECONDS)

    def ask(self, number):
        self.requests.put(messages.FetchRequest(num_requested=number, **self.first))

    def take(self, number):
        """That many events, asked for in one request."""
        self.ask(number)
        found = []
        while len(found) < number:
            self.last = next(self.answers)
            found += [Event(one) for one in self.last.events]
        return found

    def close(self):
        self.answers.cancel()


def latest():
    """Where the topic of accounts stands now: an empty answer tells."""
    subscription = Subscription(ACCOUNTS)
    subscription.ask(1)
    answer = next(subscription.answers)
    assert not answer.events
    subscription.close()
    return answer.latest_replay_id


def after(replay_id, number, topic=ACCOUNTS):
    subscription = Subscription(topic, "CUSTOM", replay_id)
    found = subscription.take(number)
    subscription.close()
    return found


def create(name, **values):
    return org.call("POST", f"{API}/sobjects/Account", {"Name": name, **values})["id"]


def account_values(event):
    """A created account's values in the words of REST."""
    return {name: event.body[name] for name in ("Name", "Industry", "NumberOfEmployees", "Ext_Id__c")}


def order_schema():
    return stub.GetTopic(messages.TopicRequest(topic_name=ORDERS), metadata=metadata()).schema_id


def order(number, total):
    schema_id = order_schema()
    payload = io.BytesIO()
    body = {"CreatedDate": 1763638111000, "CreatedById": org.user_id, "Number__c": number, "Total__c": total}
    fastavro.schemaless_writer(payload, Schemas.get(schema_id), body)
    return messages.ProducerEvent(id=number, schema_id=schema_id, payload=payload.getvalue())


# ---- topics, schemas, refusals


@judge.capability("topic")
def _():
    topic = stub.GetTopic(messages.TopicRequest(topic_name=ACCOUNTS), metadata=metadata())
    assert topic.tenant_guid.endswith(org.org_id), topic
    assert (topic.topic_name, topic.can_subscribe, topic.can_publish) == (ACCOUNTS, True, False), topic
    return topic.schema_id


@judge.capability("schema")
def _():
    topic = stub.GetTopic(messages.TopicRequest(topic_name=ACCOUNTS), metadata=metadata())
    info = stub.GetSchema(messages.SchemaRequest(schema_id=topic.schema_id), metadata=metadata())
    schema = json.loads(info.schema_json)
    assert (schema["name"], schema["namespace"], schema["fields"][0]["name"]) == ("AccountChangeEvent", "com.sforce.eventbus", "ChangeEventHeader")
    header = [field["name"] for field in schema["fields"][0]["type"]["fields"]]
    assert header[:3] == ["entityName", "recordIds", "changeType"] and header[-3:] == ["nulledFields", "diffFields", "changedFields"], header
    assert all(field["type"][0] == "null" for field in schema["fields"][1:])
    return f"{len(schema['fields'])} fields"


@judge.capability("unknown-topic")
def _():
    error = refused(grpc.RpcError, lambda: stub.GetTopic(messages.TopicRequest(topic_name="/data/NopeChangeEvent"), metadata=metadata()))
    assert error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT), error
    return f"{error.code().name} {trailer(error)}"


@judge.capability("session-refused")
def _():
    error = refused(grpc.RpcError, lambda: stub.GetTopic(messages.TopicRequest(topic_name=ACCOUNTS), metadata=metadata("no session")))
    assert (error.code(), trailer(error)) == (grpc.StatusCode.UNAUTHENTICATED, "service.auth.error"), error
    return trailer(error)


@judge.capability("replay-id-refused")
def _():
    subscription = Subscription(ACCOUNTS, "CUSTOM", CORRUPT)
    subscription.ask(1)
    error = refused(grpc.RpcError, lambda: next(subscription.answers))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT and trailer(error).startswith("subscription.fetch.replayid."), error
    return trailer(error)


@judge.capability("keep-alive")
def _():
    create("before the keep-alive")
    subscription = Subscription(ACCOUNTS)
    subscription.ask(1)
    answer = next(subscription.answers)
    assert not answer.events and answer.latest_replay_id and answer.pending_num_requested == 1, answer
    subscription.close()
    return "an empty answer with the latest position"


# ---- what happens to records becomes events


@judge.capability("create-event")
def _():
    start = latest()
    made = create("event Ünïcode", Industry="Banking", NumberOfEmployees=12, Ext_Id__c="EV-1")
    event = after(start, 1)[0]
    assert (event.header["entityName"], event.header["recordIds"], event.header["changeType"]) == ("Account", [made], "CREATE"), event.header
    assert event.header["commitUser"] == org.user_id and event.header["sequenceNumber"] == 1, event.header
    org.holds("Account", {made: account_values(event)})
    return f"{len([value for value in event.body.values() if value is not None])} values"


@judge.capability("update-event")
def _():
    made = create("before", Industry="Banking", Phone="1", BillingCity="Reno")
    start = latest()
    org.call("PATCH", f"{API}/sobjects/Account/{made}", {"Name": "after", "Phone": None, "BillingCity": "Sparks"})
    event = after(start, 1)[0]
    changed, nulled = event.named(event.header["changedFields"]), event.named(event.header["nulledFields"])
    assert (event.header["changeType"], changed - {"BillingAddress"}, nulled) == (
        "UPDATE",
        {"Name", "Phone", "BillingAddress.City", "LastModifiedDate"},
        {"Phone"},
    ), (changed, nulled)
    assert event.body["Industry"] is None, "what did not change is in the event"
    org.holds("Account", {made: {"Name": event.body["Name"], "Phone": event.body["Phone"], "BillingCity": event.body["BillingAddress"]["City"]}})
    return "bitmaps name what changed and what was cleared"


@judge.capability("delete-event")
def _():
    start = latest()
    made = [create(f"deleted {n}") for n in range(2)]
    org.call("DELETE", f"{API}/sobjects/Account/{made[0]}")
    events = after(start, 3)
    assert [(one.header["changeType"], one.header["recordIds"]) for one in events] == [("CREATE", [made[0]]), ("CREATE", [made[1]]), ("DELETE", [made[0]])]
    assert not any(events[2].body.values()) and not events[2].header["changedFields"]
    org.holds("Account", {made[0]: None, made[1]: {"Name": events[1].body["Name"]}})
    return "no values, no bitmaps"


@judge.capability("collections-are-one-transaction")
def _():
    start = latest()
    records = [{"attributes": {"type": "Account"}, "Name": f"together {n}"} for n in range(5)]
    made = [one["id"] for one in org.call("POST", f"{API}/composite/sobjects", {"allOrNone": True, "records": records})]
    events = after(start, 5)
    assert len({one.header["transactionKey"] for one in events}) == 1
    assert [one.header["sequenceNumber"] for one in events] == [1, 2, 3, 4, 5]
    found = {one.header["recordIds"][0]: {"Name": one.body["Name"]} for one in events}
    assert found.keys() == set(made), found
    org.holds("Account", found)
    return "one key, sequence 1 to 5"


@judge.capability("bulk-events")
def _():
    start = latest()
    job = org.call("POST", f"{API}/jobs/ingest", {"object": "Account", "operation": "insert", "contentType": "CSV", "lineEnding": "LF"})
    org.upload(f"/{job['contentUrl']}", "Name,Ext_Id__c\n" + "".join(f"bulk {n},EVB-{n}\n" for n in range(BULK_ROWS)))
    org.call("PATCH", f"{API}/jobs/ingest/{job['id']}", {"state": "UploadComplete"})
    subscription = Subscription(ACCOUNTS, "CUSTOM", start)
    events = [event for _ in range(BULK_ROWS // 50) for event in subscription.take(50)]
    subscription.close()
    assert all("bulkapi" in event.header["changeOrigin"] for event in events), events[0].header["changeOrigin"]
    found = {event.body["Ext_Id__c"]: {"Name": event.body["Name"]} for event in events}
    assert len(found) == BULK_ROWS
    org.holds("Account", found, key="Ext_Id__c")
    return f"{len(found)} events, {events[0].header['changeOrigin']}"


@judge.capability("flow-control")
def _():
    start = latest()
    made = [create(f"flow {n}") for n in range(5)]
    subscription = Subscription(ACCOUNTS, "CUSTOM", start)
    first = subscription.take(2)
    assert len(first) == 2 and subscription.last.pending_num_requested == 0, subscription.last
    rest = subscription.take(3)
    subscription.close()
    found = {one.header["recordIds"][0]: {"Name": one.body["Name"]} for one in first + rest}
    assert list(found) == made, found
    org.holds("Account", found)
    return "two, then three more, in their order"


@judge.capability("replay")
def _():
    start = latest()
    made = [create(f"replay {n}") for n in range(3)]
    once = after(start, 3)
    again = after(once[0].replay_id, 2)
    assert [one.replay_id for one in again] == [one.replay_id for one in once[1:]]
    earliest = Subscription(ACCOUNTS, "EARLIEST")
    oldest = earliest.take(1)[0]
    earliest.close()
    assert oldest.replay_id < once[0].replay_id
    org.holds("Account", {one: {"Name": event.body["Name"]} for one, event in zip(made[1:], again, strict=True)})
    return "behind an id, and from the earliest"


@judge.capability("all-objects-topic")
def _():
    start = latest()
    account = create("of several")
    contact = org.call("POST", f"{API}/sobjects/Contact", {"FirstName": "Ada", "LastName": "Several", "AccountId": account})["id"]
    events = after(start, 2, "/data/ChangeEvents")
    assert [(one.header["entityName"], one.header["recordIds"]) for one in events] == [("Account", [account]), ("Contact", [contact])]
    assert events[0].schema["name"] != events[1].schema["name"]
    org.holds("Account", {account: {"Name": events[0].body["Name"]}})
    org.holds("Contact", {contact: {"LastName": events[1].body["Name"]["LastName"], "AccountId": events[1].body["AccountId"]}})
    return "each event by its own schema"


@judge.capability("managed-subscription")
def _():
    def fetch(number, commit=None):
        request = messages.ManagedFetchRequest(developer_name="Sync", num_requested=number)
        if commit:
            request.commit_replay_id_request.CopyFrom(messages.CommitReplayRequest(commit_request_id="c-1", replay_id=commit))
        return request

    def opened(number):
        requests = queue.SimpleQueue()
        requests.put(fetch(number))
        return requests, stub.ManagedSubscribe(iter(requests.get, None), metadata=metadata(), timeout=CALL_SECONDS)

    requests, answers = opened(1)
    first = next(one for answer in answers for one in answer.events)
    requests.put(fetch(1, first.replay_id))
    commit = next(answer.commit_response for answer in answers if answer.HasField("commit_response"))
    assert (commit.commit_request_id, commit.replay_id, commit.HasField("error")) == ("c-1", first.replay_id, False), commit
    answers.cancel()
    _, answers = opened(1)
    second = next(one for answer in answers for one in answer.events)
    answers.cancel()
    assert second.replay_id > first.replay_id
    return "goes on behind what was committed"


# ---- publishing


@judge.capability("publish")
def _():
    subscription = Subscription(ORDERS)
    subscription.ask(10)
    next(subscription.answers)
    sent = [order(f"N-{n}", n + 0.5) for n in range(3)]
    answer = stub.Publish(messages.PublishRequest(topic_name=ORDERS, events=sent), metadata=metadata(), timeout=CALL_SECONDS)
    assert [one.correlation_key for one in answer.results] == ["N-0", "N-1", "N-2"] and not any(one.HasField("error") for one in answer.results), answer
    found = []
    while len(found) < 3:
        found += [Event(one) for one in next(subscription.answers).events]
    subscription.close()
    assert [(one.body["Number__c"], one.body["Total__c"]) for one in found] == [("N-0", 0.5), ("N-1", 1.5), ("N-2", 2.5)]
    assert [one.replay_id for one in found] == [one.replay_id for one in answer.results]
    return "three events, delivered as published"


@judge.capability("publish-stream")
def _():
    requests = (messages.PublishRequest(topic_name=ORDERS, events=[order(f"S-{n}", 1.0)]) for n in range(3))
    answers = list(stub.PublishStream(requests, metadata=metadata(), timeout=CALL_SECONDS))
    assert [one.results[0].correlation_key for one in answers] == ["S-0", "S-1", "S-2"], answers
    subscription = Subscription(ORDERS, "EARLIEST")
    found = [event.body["Number__c"] for event in subscription.take(6)]
    subscription.close()
    assert found[-3:] == ["S-0", "S-1", "S-2"], found
    return "three requests, three answers"


@judge.capability("publish-refused")
def _():
    broken = order("bad", 1.0)
    broken.payload = b"\xff\xff\xff"
    answer = stub.Publish(messages.PublishRequest(topic_name=ORDERS, events=[broken, order("good", 1.0)]), metadata=metadata(), timeout=CALL_SECONDS)
    bad, good = answer.results
    assert bad.error.code == messages.PUBLISH and bad.error.msg and not good.HasField("error"), answer
    return bad.error.msg[:80]


judge.run()
