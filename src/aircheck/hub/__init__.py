"""One publisher, many subscribers: named live streams and who feeds and drains them."""
