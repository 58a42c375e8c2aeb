//! BiFPN, PAN, QuadFPN and user-written feature pyramid graphs on Burn
