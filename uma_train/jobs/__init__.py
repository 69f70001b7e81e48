"""One function over many items: processes of this machine, slices of a job array, or Ray, with a receipt per item."""
