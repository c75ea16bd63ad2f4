//! Allocations of features that the org does not have: they are listed, and nothing of them is ever used.

use serde_json::{Map, Value, json};

/// REST API, Limits, the keys of v65.0; the figures are plausible ones.
const UNUSED: &[(&str, u64)] = &[
    ("ActiveScratchOrgs", 40),
    ("AnalyticsExternalDataSizeMB", 40_960),
    ("ConcurrentAsyncGetReportInstances", 200),
    ("ConcurrentEinsteinDataInsightsStoryCreation", 5),
    ("ConcurrentEinsteinDiscoveryStoryCreation", 2),
    ("ConcurrentSyncReportRuns", 20),
    ("ContentDistBandwidthLimitMB", 102_400),
    ("ContentDistViewLimit", 50_000),
    ("ContentPublicationLimit", 200_000),
    ("DailyAnalyticsDataflowJobExecutions", 60),
    ("DailyAnalyticsUploadedFilesSizeMB", 51_200),
    ("DailyAsyncApexTests", 500),
    ("DailyDurableGenericStreamingApiEvents", 10_000),
    ("DailyDurableStreamingApiEvents", 10_000),
    ("DailyEinsteinDataInsightsStoryCreation", 1_000),
    ("DailyEinsteinDiscoveryOptimizationJobRuns", 1_000),
    ("DailyEinsteinDiscoveryPredictAPICalls", 50_000),
    ("DailyEinsteinDiscoveryPredictionsByCDC", 500_000),
    ("DailyEinsteinDiscoveryStoryCreation", 100),
    ("DailyFunctionsApiCallLimit", 235_000),
    ("DailyGenericStreamingApiEvents", 10_000),
    ("DailyMetadataRetrievesWithDependencies", 100),
    ("DailyScratchOrgs", 80),
    ("DailyStandardVolumePlatformEvents", 10_000),
    ("DailyStreamingApiEvents", 10_000),
    ("DailyWorkflowEmails", 100_000),
    ("DurableStreamingApiConcurrentClients", 1_000),
    ("ExternalServicesActiveObjects", 4_000),
    ("ExternalServicesActiveOperations", 625),
    ("ExternalServicesObjectProperties", 160_000),
    ("ExternalServicesObjects", 15_000),
    ("ExternalServicesOperations", 10_000),
    ("ExternalServicesRegistrations", 150),
    ("HourlyAsyncReportRuns", 1_200),
    ("HourlyDashboardRefreshes", 200),
    ("HourlyDashboardResults", 5_000),
    ("HourlyDashboardStatuses", 999_999_999),
    ("HourlyLongTermIdMapping", 100_000),
    ("HourlyManagedContentPublicRequests", 50_000),
    ("HourlyODataCallout", 20_000),
    ("HourlyPublishedStandardVolumePlatformEvents", 1_000),
    ("HourlyShortTermIdMapping", 100_000),
    ("HourlySyncReportRuns", 500),
    ("HourlyTimeBasedWorkflow", 1_000),
    ("MassEmail", 5_000),
    ("MaxContentDocumentsLimit", 30_000_000),
    ("MonthlyEinsteinDiscoveryStoryCreation", 500),
    ("MonthlyPlatformEventsUsageEntitlement", 0),
    ("Package2VersionCreates", 6),
    ("Package2VersionCreatesWithoutValidation", 500),
    ("PermissionSets", 1_500),
    ("PlatformEventTriggersWithParallelProcessing", 5),
    ("PrivateConnectOutboundCalloutHourlyLimitMB", 0),
    ("ScheduledFlowRunLimit", 250_000),
    ("ScheduledPathRunLimit", 250_000),
    ("StreamingApiConcurrentClients", 1_000),
];

/// Adds them to the counted ones.
pub fn add(limits: &mut Map<String, Value>) {
    for (name, max) in UNUSED {
        limits.insert((*name).into(), json!({"Max": max, "Remaining": max}));
    }
    // Some hold more of the same.
    if let Some(Value::Object(sets)) = limits.get_mut("PermissionSets") {
        sets.insert("CreateCustom".into(), json!({"Max": 1000, "Remaining": 1000}));
    }
}
