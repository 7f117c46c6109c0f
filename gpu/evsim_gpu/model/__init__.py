"""A network as the arrays and coefficients of a time grid."""
