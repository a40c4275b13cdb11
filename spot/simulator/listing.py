"""Which products the simulated exchange lists, and how each of them trades.

In: the seed, a number of products or their names, the total rate of trades. Out: `MarketProduct`s,
the busiest first. Rates fall off as on a real exchange (a few products make most trades), and every
fifth product is quiet: minutes, for some hours, pass without a trade.
"""

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from spot.errors import SpotError
from spot.simulator.noise import ONE, bits, key_of

# Busiest first: code, name, a price of its order of magnitude in dollars.
_CURRENCIES = """
BTC Bitcoin 83277.25|ETH Ethereum 2666.07|SOL Solana 138.42|XRP XRP 1.9384|DOGE Dogecoin 0.16271
ADA Cardano 0.6218|LINK Chainlink 13.847|AVAX Avalanche 19.52|LTC Litecoin 82.41|SUI Sui 2.2184
BCH Bitcoin-Cash 341.18|DOT Polkadot 4.213|SHIB Shiba-Inu 0.00001263|AAVE Aave 158.37
UNI Uniswap 5.871|HBAR Hedera 0.16843|XLM Stellar 0.25714|NEAR NEAR-Protocol 2.487
ICP Internet-Computer 5.392|PEPE Pepe 0.00000711|ETC Ethereum-Classic 16.83|APT Aptos 5.034
ATOM Cosmos 4.389|FIL Filecoin 2.764|INJ Injective 8.713|ARB Arbitrum 0.3127|OP Optimism 0.7215
ALGO Algorand 0.18362|RENDER Render 3.518|GRT The-Graph 0.08934|LDO Lido-DAO 0.8342
CRV Curve-DAO 0.4871|STX Stacks 0.5934|IMX Immutable 0.5176|SEI Sei 0.1789|TIA Celestia 2.612
BONK Bonk 0.00001128|WIF dogwifhat 0.3984|ONDO Ondo 0.7913|JTO Jito 2.093|FET Fetch 0.4782
ENA Ethena 0.3261|MANA Decentraland 0.2418|SAND The-Sandbox 0.2573|AXS Axie-Infinity 2.584
CHZ Chiliz 0.03981|EGLD MultiversX 14.37|FLOW Flow 0.3462|XTZ Tezos 0.6517|SNX Synthetix 0.6243
COMP Compound 40.18|ZEC Zcash 35.42|DASH Dash 20.84|ENJ Enjin 0.08123|BAT Basic-Attention 0.1287
KSM Kusama 13.92|QNT Quant 68.45|MINA Mina 0.2164|ROSE Oasis 0.02714|KAVA Kava 0.3987
ZRX 0x 0.2318|ANKR Ankr 0.01734|SKL SKALE 0.02231|STORJ Storj 0.2471|BAND Band 0.6182
LRC Loopring 0.09842|NMR Numeraire 7.214|OXT Orchid 0.05127|BAL Balancer 1.083|YFI yearn 4812.6
UMA UMA 1.174|KNC Kyber 0.3261|API3 API3 0.6914|AERO Aerodrome 0.4473|MORPHO Morpho 1.184
PYTH Pyth 0.1342|JUP Jupiter 0.4187|STRK Starknet 0.1293|ZRO LayerZero 2.341|EIGEN Eigen 0.8127
PENDLE Pendle 2.914|POL Polygon 0.1931|ENS Name-Service 15.28|APE ApeCoin 0.4182|BLUR Blur 0.09417
MASK Mask 1.172|GALA Gala 0.01489|DYDX dYdX 0.5813|CTSI Cartesi 0.05731|COTI COTI 0.06182
"""

# Trades per minute of the quiet products, in turn: most minutes empty, most five-minute buckets
# empty, whole hours empty.
_QUIET_RATES = (Decimal("0.6"), Decimal("0.1"), Decimal("0.012"))
_AVERAGE_TRADE_DOLLARS = 150
# Listed but not trading, so that whoever asks for all products must look at the status.
_INACTIVE = (("LUNA-USD", "delisted"), ("MATIC-USD", "delisted"), ("OMG-USD", "offline"))
# These two dollars-in-USDC books are their own, not another name of a -USD book.
_OWN_USDC_BOOKS = frozenset({"USDT-USDC", "EURC-USDC"})
MAX_PRODUCTS = 5_000


class MarketSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What decides the seeded market; the same settings always give the same trades."""

    products: int | tuple[str, ...] = 24  # how many, or which
    seed: int = 1
    trades_per_second: Decimal = Decimal(20)  # of all products together
    history_days: int = 30  # the past that can be asked for, from midnight on


class MarketProduct(msgspec.Struct, frozen=True, kw_only=True):
    """One book. Prices and sizes are whole units: 10**-price_scale is its tick."""

    product_id: str
    name: str
    price_scale: int
    size_scale: int
    reference_price: int = 1
    average_size: int = 1
    trades_per_minute: int = 0  # fixed-point, ONE is 1
    key: int = 0
    status: str = "online"
    alias_id: str | None = None  # the second name its book is listed under

    def __hash__(self) -> int:
        """Hash the name alone: books are keys of caches that are asked thousands of times."""
        return hash(self.product_id)

    @property
    def base_currency(self) -> str:
        """The currency that is bought and sold."""
        return self.product_id.partition("-")[0]

    @property
    def quote_currency(self) -> str:
        """The currency of the price."""
        return self.product_id.partition("-")[2]


def _known() -> dict[str, tuple[str, Decimal]]:
    entries = _CURRENCIES.replace("\n", "|").strip("|").split("|")
    words = (entry.split(" ") for entry in entries)
    return {code: (name.replace("-", " "), Decimal(price)) for code, name, price in words}


def build_products(settings: MarketSettings) -> tuple[MarketProduct, ...]:
    """Return the books that trade, busiest first."""
    if isinstance(settings.products, int):
        if not 1 <= settings.products <= MAX_PRODUCTS:
            raise SpotError(f"wanted 1 to {MAX_PRODUCTS} products, found {settings.products}")
        ids: Iterable[str] = _counted_ids(settings.products)
    else:
        ids = dict.fromkeys(_book_id(product_id) for product_id in settings.products)
    ordered = list(ids)
    rates = _rates(len(ordered), settings.trades_per_second)
    return tuple(
        _build(product_id, rate, settings.seed)
        for product_id, rate in zip(ordered, rates, strict=True)
    )


def inactive_products(taken: Iterable[str], seed: int) -> tuple[MarketProduct, ...]:
    """Return the products that are listed but do not trade."""
    missing = [(name, status) for name, status in _INACTIVE if name not in set(taken)]
    return tuple(
        msgspec.structs.replace(_build(name, Decimal(0), seed), status=status, alias_id=None)
        for name, status in missing
    )


def _book_id(product_id: str) -> str:
    """Return the book a listed name stands for, refusing what is no name."""
    base, dash, quote = product_id.upper().partition("-")
    if not (dash and base.isalnum() and quote.isalnum() and product_id.isascii()):
        raise SpotError(f"wanted a product like BTC-USD, found {product_id!r}")
    is_alias = quote == "USDC" and product_id.upper() not in _OWN_USDC_BOOKS
    return f"{base}-USD" if is_alias else f"{base}-{quote}"


def _counted_ids(count: int) -> list[str]:
    known = list(_known())
    generated = (f"SIM{number:03d}" for number in range(1, count - len(known) + 1))
    return [f"{code}-USD" for code in [*known[:count], *generated]]


def _rates(count: int, per_second: Decimal) -> list[Decimal]:
    """Return trades per minute: one over the rank for most, hardly any for every fifth."""
    quiet = {rank: _QUIET_RATES[rank // 5 % 3] for rank in range(4, count, 5)}
    weights = [Decimal(0 if rank in quiet else 1) / (rank + 1) for rank in range(count)]
    per_minute = per_second * 60
    # Where the wanted total is tiny, the quiet ones get no more than their share either.
    return [
        min(quiet[rank], per_minute / count)
        if rank in quiet
        else per_minute * weight / sum(weights)
        for rank, weight in enumerate(weights)
    ]


def _build(product_id: str, per_minute: Decimal, seed: int) -> MarketProduct:
    base, _, quote = product_id.partition("-")
    key = key_of("product", seed, product_id)
    name, price = _known().get(base, (base, None))
    if price is None:
        # Between 0.001 and 1000 dollars, evenly over the orders of magnitude.
        price = Decimal(100 + bits(key, 0) % 900) * Decimal(10) ** (bits(key, 1) % 6 - 5)
    magnitude = price.adjusted()
    price_scale = 2 if magnitude >= 2 else min(4 - magnitude, 8)
    size_scale = 8 if magnitude >= 2 else max(0, min(8, 4 + 2 * magnitude))
    average = Decimal(_AVERAGE_TRADE_DOLLARS) / price * 10**size_scale
    return MarketProduct(
        product_id=product_id,
        name=name,
        price_scale=price_scale,
        size_scale=size_scale,
        reference_price=int(price * 10**price_scale),
        average_size=max(2, int(average)),
        trades_per_minute=int(per_minute * ONE),
        key=key,
        alias_id=f"{base}-USDC" if quote == "USD" else None,
    )
