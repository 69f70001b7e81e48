"""`uma report`: the paper's tables and figures, with the numbers of stored runs beside the paper's."""
