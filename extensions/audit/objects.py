"""Objects: a bucket of S3, or of a server that speaks its protocol, with an object for each event."""

import math
import time
from datetime import UTC
from functools import cached_property
from typing import Any
from urllib.parse import quote

import orjson

from extension_kit import Event, NotReady

from .records import record_of

_CONNECT_SECONDS, _READ_SECONDS = 5, 15
_ASKED_AFTER = 60.0  # seconds without an object that was written
_REFUSED = frozenset({401, 403})


class AuditBucketError(Exception):
    """The bucket did not take an event; another attempt may succeed."""


class ObjectTarget:
    """Objects ``PREFIX/YYYY/MM/DD/TIME-ID.json``: an attempt that repeats another writes the same object.

    Credentials, region and endpoint are those of the environment, as boto3 reads them.

    Args:
        bucket: name of the bucket.
        prefix: first part of the keys, without slashes around it; may be empty.
    """

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._is_there_until = -math.inf

    @cached_property
    def _client(self) -> Any:
        import boto3  # large: only for buckets
        from botocore.config import Config

        waits = Config(connect_timeout=_CONNECT_SECONDS, read_timeout=_READ_SECONDS, retries={"total_max_attempts": 1})
        return boto3.session.Session().client("s3", config=waits)

    def keep(self, event: Event) -> None:
        """Write the object of an event.

        Raises:
            NotReady: the credentials are missing, or are refused.
            AuditBucketError: the bucket did not take it.
        """
        is_there_until, self._is_there_until = time.monotonic() + _ASKED_AFTER, -math.inf
        self._put(event)
        self._is_there_until = is_there_until

    def _put(self, event: Event) -> None:
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        body = orjson.dumps(record_of(event))
        try:
            self._client.put_object(Bucket=self._bucket, Key=self.key(event), Body=body, ContentType="application/json")
        except NoCredentialsError:
            raise NotReady("S3: there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from None
        except ClientError as error:
            reason = _reason(error)
            if _status(error) in _REFUSED:
                raise NotReady(reason) from None
            raise AuditBucketError(reason) from None
        except BotoCoreError as error:
            raise AuditBucketError(f"S3: {str(error)[:300]}") from None

    def key(self, event: Event) -> str:
        """Return the key of an event's object."""
        moment = event.time.astimezone(UTC) if event.time else None
        day = f"{moment:%Y/%m/%d/%H%M%S.%f}" if moment else "undated/"
        return f"{self._prefix}{day}-{quote(event.id, safe='')[:200]}.json"

    def problem(self) -> str | None:
        """Return the reason for which the bucket cannot be used; None if it can.

        It is asked where the last object was not written, and otherwise about once a minute.
        """
        if time.monotonic() < self._is_there_until:
            return None
        if (problem := self._problem()) is None:
            self._is_there_until = time.monotonic() + _ASKED_AFTER
        return problem

    def _problem(self) -> str | None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._client.head_bucket(Bucket=self._bucket)
        except ClientError as error:
            # Credentials that may write and nothing else are refused here, too; writing tells if they are right.
            return None if _status(error) == 403 else _reason(error)
        except BotoCoreError as error:
            return f"S3: {str(error)[:300]}"
        return None

    def close(self) -> None:
        """Close its connections."""
        if "_client" in self.__dict__:
            self._client.close()


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _reason(error: Any) -> str:
    """Return the code of S3's answer; its other texts may have keys."""
    return f"S3 answers {_status(error)} ({error.response.get('Error', {}).get('Code', 'no code')})"
