//! The authorizer as expressions see it: answers that are there already.

use std::fmt;
use std::sync::{Arc, Mutex};

use auth::{Attributes, UserInfo};
use expressions::Fault;
use expressions::seam::{Authorizer, Decision, Question};

/// What the authorizer said, and what it is still to be asked, of one request.
pub struct Answers {
    authorizer: Arc<dyn auth::Authorizer>,
    user: UserInfo,
    asked: Mutex<Vec<Asked>>,
}

struct Asked {
    account: Option<Account>,
    question: Question,
    decision: Option<Decision>,
}

/// Somebody else than who makes the request.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Account {
    namespace: String,
    name: String,
}

/// Asks in the name of the request's user or of a service account.
#[derive(Debug)]
struct Asker {
    answers: Arc<Answers>,
    account: Option<Account>,
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").field("user", &self.user.name).finish_non_exhaustive()
    }
}

impl Answers {
    pub fn new(authorizer: &Arc<dyn auth::Authorizer>, user: &UserInfo) -> Arc<Self> {
        Arc::new(Self { authorizer: Arc::clone(authorizer), user: user.clone(), asked: Mutex::default() })
    }

    /// What an expression's `authorizer` is.
    pub fn authorizer(self: &Arc<Self>) -> Arc<dyn Authorizer> {
        Arc::new(Asker { answers: Arc::clone(self), account: None })
    }

    /// Whether something was asked that has no answer yet: what was run so far does not count.
    pub fn are_wanted(&self) -> bool {
        self.asked.lock().expect("no holder of the answers panics").iter().any(|asked| asked.decision.is_none())
    }

    /// Gets the answers that are wanted.
    pub async fn settle(&self) {
        while let Some((account, question)) = self.wanted() {
            let decision = self.ask(account.as_ref(), &question).await;
            let mut asked = self.asked.lock().expect("no holder of the answers panics");
            let open = asked.iter_mut().filter(|asked| asked.account == account && asked.question == question);
            open.for_each(|asked| asked.decision = Some(decision.clone()));
        }
    }

    fn wanted(&self) -> Option<(Option<Account>, Question)> {
        let asked = self.asked.lock().expect("no holder of the answers panics");
        asked.iter().find(|asked| asked.decision.is_none()).map(|asked| (asked.account.clone(), asked.question.clone()))
    }

    async fn ask(&self, account: Option<&Account>, question: &Question) -> Decision {
        let other = account.map(Account::user);
        let decision = self.authorizer.authorize(&attributes(other.as_ref().unwrap_or(&self.user), question)).await;
        Decision { allowed: decision.is_allowed(), reason: decision.reason().to_owned(), error: None }
    }

    /// The decision, if it is known; if not, it will be wanted.
    fn look_up(&self, account: Option<&Account>, question: &Question) -> Option<Decision> {
        let mut all = self.asked.lock().expect("no holder of the answers panics");
        match all.iter().find(|asked| asked.account.as_ref() == account && asked.question == *question) {
            Some(asked) => asked.decision.clone(),
            None => {
                all.push(Asked { account: account.cloned(), question: question.clone(), decision: None });
                None
            }
        }
    }
}

impl Authorizer for Asker {
    fn decide(&self, question: &Question) -> Decision {
        let unknown = || Decision { error: Some("not known yet".into()), ..Decision::default() };
        self.answers.look_up(self.account.as_ref(), question).unwrap_or_else(unknown)
    }

    fn for_service_account(&self, namespace: &str, name: &str) -> Result<Arc<dyn Authorizer>, Fault> {
        let account = Account { namespace: namespace.to_owned(), name: name.to_owned() };
        Ok(Arc::new(Self { answers: Arc::clone(&self.answers), account: Some(account) }))
    }
}

impl Account {
    /// Without the group of everybody who has proved who they are: this account has proved nothing.
    fn user(&self) -> UserInfo {
        let mut user = auth::service_account_user(&self.namespace, &self.name, "");
        user.groups.retain(|group| group != auth::AUTHENTICATED);
        user
    }
}

fn attributes<'a>(user: &'a UserInfo, question: &'a Question) -> Attributes<'a> {
    match question {
        Question::Path { path, verb } => Attributes::path(user, verb, path),
        Question::Resource(asked) => Attributes {
            subresource: &asked.subresource,
            namespace: &asked.namespace,
            name: &asked.name,
            field_selector: asked.field_selector.as_deref().unwrap_or_default(),
            ..Attributes::resource(user, &asked.verb, &asked.group, "*", &asked.resource)
        },
    }
}
