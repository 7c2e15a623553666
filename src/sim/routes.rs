//! The route file of a source, `source/samples/<source>/routes.toml`: how the simulator serves its samples.
//!
//! ```toml
//! # Which page of the vendor's documentation each sample follows (a comment).
//!
//! [auth]                              # optional: requests without it get this answer
//! need = "header:x-finnhub-token"     # or "query:apikey"
//! except = ["/crumb"]                 # optional: path prefixes that need none
//! status = 401
//! sample = "error_401.json"
//!
//! [[route]]                           # the first route that matches answers
//! base = "api"                        # optional: name of the base URL it belongs to; the first by default
//! path = "/v8/finance/chart/{symbol}" # literal segments and {captures}; a capture takes one whole segment
//! when = { function = "GLOBAL_QUOTE", market = "*", page = "" } # optional: query parameters; "*" = present, "" = absent
//! method = "GET"                      # optional
//! status = 200                        # optional
//! headers = { set-cookie = "A3=x" }   # optional
//! sample = "chart.json"
//!
//! # Which instruments were asked for: "query:NAME" or "path:NAME" (one name), "query-comma:NAME" (a,b,c),
//! # "query-json:NAME" (["a","b"]). Several may be listed; the first that is present counts.
//! symbols = ["query-json:symbols", "query:symbol"]
//! # Where the element is that is repeated for each instrument asked for: a JSON pointer to an array, whose first element is
//! # the pattern, or to an object keyed by instrument. Without it the whole body is about one instrument.
//! each = "/result"
//! single = true                       # optional: when one instrument was asked for by a form that gives one object
//!                                     # (a bare "query:"/"path:" form), the pattern itself is the body
//! # Below, pointers are relative to the repeated element where `each` is given, else to the body. `*` stands for every
//! # index of an array or every key of an object.
//! name = ["/symbol"]                  # replaced by the instrument asked for, as it was asked
//! price = ["/lastPrice", "/bars/*/1"] # multiplied by the instrument's price walk, keeping its type and places
//! count = ["/tradeId", "/rows/*/id"]  # an integer (number or string) that grows with the wall clock: moved by seconds since
//!                                     # 2024-01-01 times the number of rows, so that ids keep their order and stay monotone
//! unique = ["/uuid"]                  # a text made unique per moment: its last characters are replaced by digits
//! step = "1m"                         # the shift of times is a whole multiple of this: a duration, or "query:interval"
//!                                     # (the value read as a duration, 1d and 1w too); 1ms by default
//!
//! [route.time]                        # all times of a body move by the same shift, so that the newest is now
//! ms = ["/closeTime"]                 # integers or strings of digits: s, ms, us, ns
//! s = []
//! rfc3339 = []                        # keeps the number of fractional digits and the Z or offset
//! date = []                           # 2024-11-01
//! "%Y-%m-%d %H:%M:%S" = []            # any other key is a strptime pattern; wall time in `zone`
//! keys = { "/Time Series (5min)" = "%Y-%m-%d %H:%M:%S" } # objects whose keys are times, with their format
//! zone = "America/New_York"           # optional, UTC by default
//! ```
