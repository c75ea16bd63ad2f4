//! The Salesforce connector
