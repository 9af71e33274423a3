"""Float64 valuation of instruments: functions of terms, curves and arrays; yields, rates, volatilities are fractions."""
