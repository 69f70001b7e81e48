"""The checkpoint bundle: a folder with weights, configuration, normalisation, contract and card. Never pickle."""
