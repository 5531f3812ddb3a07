"""The report: what was reproduced, with every number linked to the record behind it."""
