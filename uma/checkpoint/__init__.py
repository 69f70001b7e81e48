"""The checkpoint bundle: a folder with weights, configuration, normalisation, contract and model card; no pickle
files."""
