//! A file of tokens that are good while the process runs: `token,user,uid[,"group,group"]` a line (`--token-auth-file`).

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;

use crate::AUTHENTICATED;
use crate::authn::digest;
use crate::reviewers::own_audience;
use crate::seam::{TokenReviewer, UserInfo};

/// By the SHA-256 of each token, so that looking one up does not tell by its time how much was right.
pub struct StaticTokens {
    users: HashMap<[u8; 32], Arc<UserInfo>>,
    audiences: Arc<[String]>,
}

impl StaticTokens {
    /// `audiences` are those of this server. Err names the line.
    pub fn parse(text: &str, audiences: Arc<[String]>) -> Result<Arc<Self>, String> {
        let mut tokens = HashMap::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')) {
            let number = index + 1;
            let columns = columns(line).ok_or_else(|| format!("line {number}: a quote is not closed"))?;
            let [token, user, uid, rest @ ..] = columns.as_slice() else {
                return Err(format!(
                    "line {number}: {} columns; needed are token, user name, uid, and groups if there are any",
                    columns.len()
                ));
            };
            if token.is_empty() {
                return Err(format!("line {number}: the token is empty"));
            }
            let groups = rest.iter().take(1).flat_map(|groups| groups.split(',')).map(str::trim).filter(|group| !group.is_empty());
            let groups = groups.map(str::to_owned).chain([AUTHENTICATED.to_owned()]).collect();
            let user = UserInfo { name: user.clone(), uid: uid.clone(), groups, ..UserInfo::default() };
            if tokens.insert(digest(token), Arc::new(user)).is_some() {
                return Err(format!("line {number}: the token is that of an earlier line"));
            }
        }
        Ok(Arc::new(Self { users: tokens, audiences }))
    }
}

#[async_trait]
impl TokenReviewer for StaticTokens {
    async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<(Arc<UserInfo>, Vec<String>)>, String> {
        let user = self.users.get(&digest(token)).map(Arc::clone);
        Ok(user.zip(own_audience(&self.audiences, audiences)))
    }
}

/// The columns of a line of CSV; a doubled quote within quotes is one. None where a quote is not closed.
fn columns(line: &str) -> Option<Vec<String>> {
    let (mut columns, mut quoted) = (vec![String::new()], false);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        let column = columns.last_mut().expect("there is always one");
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => column.extend(letters.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => columns.push(String::new()),
            letter => column.push(letter),
        }
    }
    (!quoted).then(|| columns.iter().map(|column| column.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_is_a_user() {
        let tokens =
            StaticTokens::parse("# who\nt1,ann,1,\"dev,\"\"ops\"\"\"\n\nt2,bob,\n", Arc::from([crate::token::ISSUER.to_owned()])).unwrap();
        let (ann, _) = tokens.review("t1", &[]).await.unwrap().unwrap();
        assert_eq!((ann.name.as_str(), ann.uid.as_str()), ("ann", "1"));
        assert_eq!(ann.groups, ["dev", "\"ops\"", "system:authenticated"]);
        assert!(tokens.review("t2", &["vault".into()]).await.unwrap().is_none(), "it is for this server alone");
        assert!(tokens.review("t3", &[]).await.unwrap().is_none());
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (text, want) in [
            ("t1,ann", "line 1: 2 columns"),
            ("\nt,\"a,b", "line 2: a quote"),
            (",a,b", "line 1: the token is empty"),
            ("t,a,\nt,b,", "line 2: the token is that"),
        ] {
            let why = StaticTokens::parse(text, Arc::from([])).err().unwrap();
            assert!(why.starts_with(want), "{why}");
        }
    }
}
