//! `login`, `logout`, `getUserInfo` and `getServerTimestamp`.

use crate::auth::users::{self, Login, User};
use crate::seed::Flavour;
use crate::soap::envelope::{Fault, Request};
use crate::store::id::Id;
use crate::web::http::Call;
use crate::web::markup::{Element, leaf};

/// First version whose `login()` is gone.
const LOGIN_GONE_FROM: u32 = 65;

pub fn login(call: &Call, operation: &Element, version: u32) -> Result<String, Fault> {
    if version >= LOGIN_GONE_FROM {
        return Err(Fault::unexpected(
            "INVALID_OPERATION",
            format!(
                "The SOAP Login operation is not available in the API version specified ({version}.0). \
                 Refer to the documentation for supported versions."
            ),
        ));
    }
    if !call.org.config.login.soap_login {
        return Err(Fault::unexpected(
            "INVALID_OPERATION",
            "SOAP API login() is disabled by default in this org. Contact the org administrator to enable SOAP API login().",
        ));
    }
    let (username, password) = (operation.value("username"), operation.child("password"));
    let user = match users::login(&call.org, username.unwrap_or_default(), password.map_or("", |p| &p.text)) {
        Login::User(user) => user,
        // The org does not tell a stranger which of the three it was.
        Login::WrongPassword | Login::Inactive => {
            return Err(Fault::login(
                "INVALID_LOGIN",
                "Invalid username, password, security token; or user locked out.",
            ));
        }
    };
    if call.org.auth.count_login(&user.text()).is_err() {
        return Err(Fault::login("LOGIN_RATE_EXCEEDED", "Login rate exceeded"));
    }
    let token = call.org.auth.open_session(&user.text());
    let (base, org) = (&call.caller.base, &call.org.org_id.text()[..15]);
    let kind = &call.segments[2];
    let mut out = String::from("<loginResponse><result>");
    leaf(&mut out, "metadataServerUrl", &format!("{base}/services/Soap/m/{version}.0/{org}"));
    leaf(&mut out, "passwordExpired", "false");
    leaf(
        &mut out,
        "sandbox",
        if call.org.config.flavour == Flavour::Sandbox {
            "true"
        } else {
            "false"
        },
    );
    leaf(&mut out, "serverUrl", &format!("{base}/services/Soap/{kind}/{version}.0/{org}"));
    leaf(&mut out, "sessionId", &token);
    leaf(&mut out, "userId", &user.text());
    out.push_str("<userInfo>");
    out.push_str(&info(call, &user)?);
    out.push_str("</userInfo></result></loginResponse>");
    Ok(out)
}

pub fn logout(call: &Call, request: &Request) -> Result<String, Fault> {
    session(call, request)?;
    let _ = call.org.auth.revoke(request.session.as_deref().unwrap_or_default());
    Ok("<logoutResponse/>".into())
}

pub fn user_info(call: &Call, request: &Request) -> Result<String, Fault> {
    let user = session(call, request)?;
    Ok(format!(
        "<getUserInfoResponse><result>{}</result></getUserInfoResponse>",
        info(call, &user)?
    ))
}

pub fn timestamp(call: &Call, request: &Request) -> Result<String, Fault> {
    session(call, request)?;
    let mut out = String::from("<getServerTimestampResponse><result>");
    leaf(
        &mut out,
        "timestamp",
        &call.org.clock.now().format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
    );
    out.push_str("</result></getServerTimestampResponse>");
    Ok(out)
}

fn session(call: &Call, request: &Request) -> Result<Id, Fault> {
    let token = request.session.as_deref().unwrap_or_default();
    call.org
        .auth
        .user_of(token)
        .and_then(|user| Id::parse(user.as_bytes()).ok())
        .ok_or_else(|| Fault::unexpected("INVALID_SESSION_ID", "Invalid Session ID found in SessionHeader: Illegal Session"))
}

fn info(call: &Call, user: &Id) -> Result<String, Fault> {
    let org = &call.org;
    let db = org.db();
    let user = User::by_id(&db, user).ok_or_else(|| Fault::unexpected("INVALID_SESSION_ID", "the session's user is gone"))?;
    let organization = db.locate(&org.org_id).and_then(|(object, row)| {
        let field = db.schema.objects[object].field("Name")?;
        db.tables[object]
            .row(row)
            .get(field)
            .map(|v| String::from_utf8_lossy(v).into_owned())
    });
    let or = |field: &str, fallback: &str| {
        Some(user.text(field))
            .filter(|t| !t.is_empty())
            .unwrap_or_else(|| fallback.to_owned())
    };
    let mut out = String::new();
    for (name, value) in [
        ("accessibilityMode", "false".to_owned()),
        ("chatterExternal", "false".into()),
        ("currencySymbol", "$".into()),
        ("orgAttachmentFileSizeLimit", "26214400".into()),
        ("orgDefaultCurrencyIsoCode", "USD".into()),
        ("orgDefaultCurrencyLocale", "en_US".into()),
        ("orgDisallowHtmlAttachments", "false".into()),
        ("orgHasPersonAccounts", "false".into()),
        ("organizationId", org.org_id.text()),
        ("organizationMultiCurrency", "false".into()),
        ("organizationName", organization.unwrap_or_default()),
        ("profileId", user.text("ProfileId")),
        ("roleId", user.text("UserRoleId")),
        ("sessionSecondsValid", org.config.token_ttl_secs.to_string()),
        ("userDefaultCurrencyIsoCode", user.text("DefaultCurrencyIsoCode")),
        ("userEmail", user.text("Email")),
        ("userFullName", user.text("Name")),
        ("userId", user.id().text()),
        ("userLanguage", or("LanguageLocaleKey", "en_US")),
        ("userLocale", or("LocaleSidKey", "en_US")),
        ("userName", user.text("Username")),
        ("userTimeZone", or("TimeZoneSidKey", "GMT")),
        ("userType", or("UserType", "Standard")),
        ("userUiSkin", "Theme3".into()),
    ] {
        match value.is_empty() {
            true => out.push_str(&format!("<{name} xsi:nil=\"true\"/>")),
            false => leaf(&mut out, name, &value),
        }
    }
    Ok(out)
}
