"""Reads an org over plain REST: query with paging, and describe. Nothing of Syncline's is used or imported."""

import http.client
import json
import threading
import urllib.parse

ATTEMPTS = 4
TIMEOUT_SECONDS = 120


class OrgError(Exception):
    """The org could not be read. The text names the request, never a record's value."""


class Org:
    def __init__(self, name, url, token, version):
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise OrgError(f"{name}: the address must be http(s)://host[:port]")
        self.name = name
        self.secure = parts.scheme == "https"
        self.host, self.port = parts.hostname, parts.port
        self.token = token
        self.base = f"/services/data/v{version}"
        self.local = threading.local()
        self.opened = []

    def close(self):
        for connection in self.opened:
            connection.close()

    def connection(self, fresh):
        found = getattr(self.local, "connection", None)
        if found is None or fresh:
            if found is not None:
                found.close()
            kind = http.client.HTTPSConnection if self.secure else http.client.HTTPConnection
            found = self.local.connection = kind(self.host, self.port, timeout=TIMEOUT_SECONDS)
            self.opened.append(found)
        return found

    def get(self, path, what):
        cause = "no answer"
        for attempt in range(ATTEMPTS):
            try:
                connection = self.connection(fresh=attempt > 0)
                connection.request(
                    "GET", path, headers={"Authorization": f"Bearer {self.token}", "Accept": "application/json"}
                )
                response = connection.getresponse()
                body = response.read()
            except (OSError, http.client.HTTPException) as error:
                cause = type(error).__name__
                continue
            if response.status == 200:
                return json.loads(body)
            cause = f"status {response.status}"
            try:
                cause += f" {json.loads(body)[0]['errorCode']}"
            except (ValueError, LookupError, TypeError):
                pass
            if response.status < 500:
                break
        raise OrgError(f"{self.name}: {what}: {cause}")

    def query(self, soql, what):
        """All records of a query, page by page, without their `attributes`."""
        page = self.get(f"{self.base}/query?" + urllib.parse.urlencode({"q": soql}), what)
        total, records = page["totalSize"], []
        while True:
            records += page["records"]
            following = page.get("nextRecordsUrl")
            if page.get("done", True) or not following:
                break
            page = self.get(following, what)
        if len(records) != total:
            raise OrgError(f"{self.name}: {what}: {total} records announced, {len(records)} delivered")
        return records

    def fields(self, object_name):
        """All fields of an object, as the org itself describes them."""
        return self.get(f"{self.base}/sobjects/{object_name}/describe", f"describe {object_name}")["fields"]
