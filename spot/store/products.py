"""The markets' table: what the exchange lists, and which of it has candles."""

from collections.abc import Iterable

from spot.models import Product
from spot.store import statements
from spot.store.pool import Connection, Pool, acquire


async def save_products(
    source: Pool | Connection,
    exchange: str,
    products: Iterable[Product],
    *,
    is_whole_list: bool = False,
) -> None:
    """Write the products; where they are the exchange's whole list, retire those not on it."""
    # All writers lock rows in one order, so two shards that start together cannot deadlock.
    rows = sorted(products, key=lambda product: product.product_id)
    async with acquire(source) as connection, connection.transaction():
        async with connection.cursor() as cursor:
            await cursor.executemany(
                statements.UPSERT_PRODUCT,
                [
                    (
                        exchange,
                        product.product_id,
                        product.base_currency,
                        product.quote_currency,
                        product.status,
                        product.price_increment,
                        product.base_increment,
                        product.alias,
                        product.is_disabled,
                        product.venue,
                        product.is_active,
                    )
                    for product in rows
                ],
            )
        if is_whole_list:
            listed = [product.product_id for product in rows]
            await connection.execute(statements.RETIRE_PRODUCTS, (exchange, listed))


async def get_active_products(source: Pool | Connection, exchange: str) -> list[Product]:
    """Return the products whose candles are kept, by name."""
    return await _read(source, exchange, only_active=True)


async def all_products(source: Pool | Connection, exchange: str) -> list[Product]:
    """Return every product ever listed, by name."""
    return await _read(source, exchange, only_active=False)


async def _read(source: Pool | Connection, exchange: str, *, only_active: bool) -> list[Product]:
    async with acquire(source) as connection:
        cursor = await connection.execute(statements.READ_PRODUCTS, (exchange, only_active))
        return [
            Product(
                product_id=row[0],
                base_currency=row[1],
                quote_currency=row[2],
                status=row[3],
                price_increment=row[4],
                base_increment=row[5],
                alias=row[6],
                is_disabled=row[7],
                venue=row[8],
            )
            for row in await cursor.fetchall()
        ]
