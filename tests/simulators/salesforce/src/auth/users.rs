//! The org's users as logins see them.

use crate::org::OrgState;
use crate::store::db::Db;
use crate::store::id::Id;

/// A user and read access to the fields of their record.
pub struct User<'a> {
    db: &'a Db,
    object: usize,
    row: u32,
}

impl<'a> User<'a> {
    pub fn by_id(db: &'a Db, id: &Id) -> Option<Self> {
        let object = db.schema.object("User")?;
        db.locate(id)
            .filter(|(found, _)| *found == object)
            .map(|(_, row)| Self { db, object, row })
    }

    /// Usernames compare without case.
    pub fn by_name(db: &'a Db, username: &str) -> Option<Self> {
        let object = db.schema.object("User")?;
        let field = db.schema.objects[object].field("Username")?;
        let table = &db.tables[object];
        let row = table.scan(false).find(|row| {
            let name = table.row(*row).get(field);
            name.is_some_and(|n| crate::store::db::same_text(n, username.as_bytes()))
        })?;
        Some(Self { db, object, row })
    }

    pub fn id(&self) -> Id {
        self.db.tables[self.object].id(self.row)
    }

    /// A field's text; empty when null or unknown.
    pub fn text(&self, field: &str) -> String {
        self.db.schema.objects[self.object]
            .field(field)
            .and_then(|f| self.db.tables[self.object].row(self.row).get(f))
            .map(|v| String::from_utf8_lossy(v).into_owned())
            .unwrap_or_default()
    }

    pub fn is_active(&self) -> bool {
        self.text("IsActive") != "false"
    }
}

/// A password login's outcome.
pub enum Login {
    User(Id),
    WrongPassword,
    Inactive,
}

/// Checks a username with a password to which the security token is appended.
pub fn login(org: &OrgState, username: &str, secret: &str) -> Login {
    let settings = &org.config.login;
    let db = org.db();
    let user = User::by_name(&db, username);
    let wanted = format!("{}{}", settings.password, settings.security_token);
    match user {
        Some(user) if secret == wanted && user.is_active() => Login::User(user.id()),
        Some(_) if secret == wanted => Login::Inactive,
        _ => Login::WrongPassword,
    }
}
