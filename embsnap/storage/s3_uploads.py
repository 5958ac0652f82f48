"""Uploads to S3 that were begun and never put together: what is listed of them, and how they are given up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embsnap.storage.base import ObjectInfo
from embsnap.storage.s3_client import S3Client

__all__ = ["S3Uploads"]


class S3Uploads:
    """The uploads under one prefix of a bucket, whoever began them. Each method is one attempt."""

    def __init__(self, client: S3Client, bucket: str, prefix: str, where: str) -> None:
        """Address them; `where` is the URI of the prefix, for messages."""
        self._client, self._bucket, self._prefix, self._where = client, bucket, prefix, where

    async def found(self, silence_s: float) -> list[ObjectInfo]:
        """All of them, with the bytes that have arrived, by location; the generation is the upload's id."""
        pages = await self._pages("list_multipart_uploads", ("KeyMarker", "UploadIdMarker"), Prefix=self._prefix)
        uploads = [upload for page in pages for upload in page.get("Uploads", ())]
        found = [await self._info(upload) for upload in uploads if upload["Key"] != self._prefix]
        return sorted(found, key=lambda info: (info.location, info.generation))

    async def drop(self, info: ObjectInfo, silence_s: float) -> None:
        """Have the server forget one."""
        await self._call(
            "abort_multipart_upload",
            expected=(404,),
            Key=self._prefix + info.location,
            UploadId=info.generation,
        )

    async def _info(self, upload: Mapping[str, Any]) -> ObjectInfo:
        named = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
        pages = await self._pages("list_parts", ("PartNumberMarker",), expected=(404,), **named)
        parts = [part for page in pages for part in page.get("Parts", ())]
        times = [upload["Initiated"], *(part["LastModified"] for part in parts)]
        size = sum(int(part["Size"]) for part in parts)
        location = str(upload["Key"]).removeprefix(self._prefix)
        return ObjectInfo(location, size, str(upload["UploadId"]), max(time.timestamp() for time in times))

    async def _pages(self, method: str, markers: tuple[str, ...], **parameters: Any) -> list[Mapping[str, Any]]:
        """All pages of a listing; none of what is not there any more."""
        pages: list[Mapping[str, Any]] = []
        after: Mapping[str, Any] = {}
        while True:
            page = await self._call(method, **parameters, **after)
            if page is None:
                return pages
            pages.append(page)
            if not page.get("IsTruncated"):
                return pages
            after = {marker: page[f"Next{marker}"] for marker in markers}

    async def _call(self, method: str, **parameters: Any) -> Mapping[str, Any] | None:
        return await self._client.call(method, where=self._where, Bucket=self._bucket, **parameters)
