"""What an instance costs an hour: asked of AWS's own price list, with the day that it was published."""

# boto3 leaves its signatures untyped.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from boto3.session import Session

from maporl_cli.core.errors import MaporlError
from maporl_cli.data.aws import aws_client, aws_errors

_LISTED_IN = "us-east-1"
"""The price list of all regions is served from here."""


@dataclass(frozen=True, slots=True)
class Price:
    """On demand; spot capacity costs less, and nobody knows beforehand how much.

    Attributes:
        hourly: US dollars an hour of one instance.
        date: the day that the list was published, as 2026-11-28.
    """

    hourly: float
    date: str

    def limit(self, seconds: int, instances: int) -> float:
        """The most that so many instances cost in so many seconds, in US dollars; without what they store and
        move."""
        return self.hourly * seconds / 3600 * instances


def price_of(session: Session, instance: str, usage: str = "Train") -> Price | str:
    """The price of an instance in the session's region; why it is not known, where it is not.

    AWS Price List Query API, service AmazonSageMaker. Of a product's usage types, such as
    `USE1-Train:ml.g5.12xlarge`, only one counts: training, hosting and notebooks cost differently.

    Args:
        usage: `Train`, or `Host` for an endpoint.
    """
    try:
        with aws_errors("the AWS price list"):
            client = aws_client(Session(region_name=_LISTED_IN), "pricing", patient=False)
            filters = {"regionCode": session.region_name, "instanceName": instance}
            pages = client.get_paginator("get_products").paginate(
                ServiceCode="AmazonSageMaker",
                Filters=[
                    {"Type": "TERM_MATCH", "Field": key, "Value": value} for key, value in filters.items()
                ],
            )
            found = [json.loads(text) for page in pages for text in page["PriceList"]]
    except MaporlError as error:
        return error.what
    prices = [price for product in found if _is_for(usage, product, instance) for price in _hourly(product)]
    # Where there are several, nobody knows which counts, and only the highest bounds the cost.
    return max(prices, key=lambda price: price.hourly) if prices else f"the price list has no {instance} here"


def _is_for(usage: str, product: Mapping[str, Any], instance: str) -> bool:
    told, _, name = str(product["product"]["attributes"].get("usagetype", "")).partition(":")
    return told.split("-")[-1] == usage and name == instance


def _hourly(product: Mapping[str, Any]) -> Iterator[Price]:
    for term in product["terms"].get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            dollars = float(dimension["pricePerUnit"].get("USD", 0))
            if dimension.get("unit") in ("Hrs", "Hours") and dollars > 0:
                yield Price(dollars, str(product.get("publicationDate", ""))[:10])
