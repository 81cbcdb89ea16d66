"""How good an encoder's features are: frozen features, linear probe, nearest neighbours, metrics, reports."""
