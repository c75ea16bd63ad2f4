//! A database of one's own on the shared PostgreSQL server.

use std::sync::mpsc;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use url::Url;
use uuid::Uuid;

use crate::servers;

/// An empty database with a random name, dropped with this value (best effort: a killed test leaves it behind).
pub struct TestDatabase {
    name: String,
    url: String,
}

impl TestDatabase {
    /// Creates the database on [`servers`].
    ///
    /// # Panics
    /// If the server is missing or refuses.
    pub async fn create() -> Self {
        let name = format!("test_{}", Uuid::new_v4().simple());
        let mut url = Url::parse(&servers().database_url).expect("the database address must be a URL");
        url.set_path(&name);
        let mut admin = PgConnection::connect(&servers().database_url)
            .await
            .expect("PostgreSQL must be reachable for this test");
        // The name is ours, made of hexadecimal digits.
        sqlx::raw_sql(AssertSqlSafe(format!("create database {name}")))
            .execute(&mut admin)
            .await
            .expect("the test role must be allowed to create databases");
        admin.close().await.ok();
        Self {
            name,
            url: url.to_string(),
        }
    }

    /// What a backup of this moment gives when it is restored. Nobody may be at work on the database; sessions that are left over are
    /// ended.
    ///
    /// # Panics
    /// If the server refuses.
    pub async fn copy(&self) -> Self {
        let copy = Self::create().await;
        let mut admin = PgConnection::connect(&servers().database_url).await.expect("PostgreSQL is there");
        for statement in [
            format!(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = '{}'",
                self.name
            ),
            format!("drop database {}", copy.name),
            format!("create database {} template {}", copy.name, self.name),
        ] {
            sqlx::raw_sql(AssertSqlSafe(statement))
                .execute(&mut admin)
                .await
                .expect("the test role may end its own sessions and copy its databases");
        }
        admin.close().await.ok();
        copy
    }

    /// Where to connect, with credentials.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let statement = format!("drop database if exists {} with (force)", self.name);
        blocking(async move {
            let mut admin = PgConnection::connect(&servers().database_url).await?;
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut admin).await?;
            admin.close().await
        });
    }
}

/// How long a `Drop` waits for its clean-up. It blocks the test's runtime, and so whoever is just logging in to the
/// server through it; `drop database` in turn waits for every such session (up to its authentication timeout of a
/// minute). What takes longer goes on without us: the server finishes a statement whose client has left.
const CLEAN_UP_WAIT: Duration = Duration::from_secs(2);

/// Runs clean-up from a `Drop`, inside a runtime or not: on a thread and runtime of its own. Failures are ignored, the
/// servers themselves are thrown away in the end.
pub(crate) fn blocking<T, E, F>(work: F)
where
    F: Future<Output = Result<T, E>> + Send + 'static,
{
    let (finished, wait) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
            runtime.block_on(work).ok();
        }
        finished.send(()).ok();
    });
    wait.recv_timeout(CLEAN_UP_WAIT).ok();
}
