//! Neutral words that free-text filler is made of. They say nothing about anybody. Composed for Syncline.

/// Lower-case ASCII.
pub const WORDS: &[&str] = &[
    "able", "about", "account", "across", "active", "added", "after", "agenda", "again", "ahead", "also", "always", "among", "annual",
    "answer", "apply", "area", "around", "arrange", "aside", "assign", "await", "basic", "before", "begin", "below", "better", "between",
    "board", "brief", "bring", "build", "calendar", "call", "carry", "center", "chance", "change", "check", "choice", "clear", "close",
    "collect", "common", "compare", "complete", "concern", "confirm", "connect", "contact", "contain", "continue", "copy", "cover",
    "create", "current", "daily", "decide", "deliver", "depend", "detail", "direct", "discuss", "early", "earn", "easy", "effect",
    "either", "enough", "enter", "equal", "even", "event", "every", "exact", "example", "expect", "extra", "fair", "family", "figure",
    "final", "find", "first", "follow", "form", "forward", "found", "front", "full", "further", "general", "given", "goal", "great",
    "group", "half", "hand", "happen", "have", "heading", "help", "high", "hold", "hour", "idea", "include", "item", "just", "keep",
    "kind", "know", "large", "later", "lead", "learn", "leave", "less", "letter", "level", "likely", "limit", "line", "list", "little",
    "local", "long", "look", "main", "make", "many", "mark", "matter", "mean", "measure", "meet", "middle", "might", "minor", "mode",
    "month", "more", "most", "move", "much", "name", "near", "need", "never", "next", "none", "normal", "note", "number", "offer",
    "office", "often", "only", "open", "option", "order", "other", "outline", "over", "page", "part", "pass", "past", "pending", "period",
    "place", "plain", "plan", "point", "possible", "present", "prior", "quick", "quiet", "quite", "range", "rate", "reach", "read",
    "ready", "reason", "recent", "record", "refer", "regular", "relate", "remain", "repeat", "reply", "report", "request", "rest",
    "result", "return", "review", "right", "round", "same", "sample", "schedule", "second", "section", "see", "send", "series", "serve",
    "set", "several", "share", "short", "show", "side", "simple", "since", "single", "small", "some", "soon", "space", "specific", "stage",
    "standard", "start", "state", "step", "still", "such", "sum", "support", "sure", "table", "take", "task", "team", "term", "test",
    "than", "that", "then", "there", "thing", "think", "this", "those", "through", "time", "title", "today", "together", "topic", "total",
    "toward", "track", "try", "turn", "under", "unit", "until", "update", "upon", "usual", "value", "very", "view", "visit", "wait",
    "want", "week", "well", "what", "when", "where", "which", "while", "whole", "will", "with", "within", "without", "word", "work",
    "would", "write", "year", "yet",
];
