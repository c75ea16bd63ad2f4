//! A Salesforce org for tests, demos and benchmarks; shares no code with the connector
