//! Who somebody is: SelfSubjectReview and TokenReview.

use auth::UserInfo;
use schema::{DocExt, Status, Value, json, time};

use crate::core::Call;

pub(super) fn own(call: &Call<'_>, mut doc: Value) -> Value {
    doc.set_at("metadata.creationTimestamp", time::format(call.core.env().now()));
    doc.set_at("status", json!({"userInfo": user(call.user)}));
    doc
}

pub(super) async fn token(call: &Call<'_>, mut doc: Value) -> Result<Value, Status> {
    let token = doc.str_at("spec.token").to_owned();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences: Vec<String> = doc.items_at("spec.audiences").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let status = match call.core.tokens()?.reviewer.review(&token, &audiences).await {
        Ok(Some((found, fitting))) => {
            let mut status = json!({"authenticated": true, "user": user(&found)});
            if !fitting.is_empty() {
                status["audiences"] = json!(fitting);
            }
            status
        }
        Ok(None) => json!({"user": {}, "error": "invalid bearer token"}),
        Err(why) => json!({"user": {}, "error": why}),
    };
    doc.set_at("status", status);
    Ok(doc)
}

fn user(user: &UserInfo) -> Value {
    let mut doc = json!({"username": user.name});
    if !user.uid.is_empty() {
        doc["uid"] = json!(user.uid);
    }
    if !user.groups.is_empty() {
        doc["groups"] = json!(user.groups);
    }
    if !user.extra.is_empty() {
        doc["extra"] = json!(user.extra);
    }
    doc
}
