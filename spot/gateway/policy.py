"""The headers that tell a browser what our answers may do. Pure."""


def policy(*scripts: str) -> str:
    """Return the content security policy; pages may also load these scripts, by their addresses.

    Datastar compiles the page's expressions, hence unsafe-eval.
    """
    sources = " ".join(("'self'", "'unsafe-eval'", *scripts))
    return (
        f"default-src 'self'; script-src {sources}; style-src 'self';"
        " img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'self'"
    )


# Nothing is looked at twice by a browser, embedded by a stranger or loaded from elsewhere.
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": policy(),
}
