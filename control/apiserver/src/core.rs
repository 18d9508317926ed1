//! The entrance: who asks, may they, and which room answers.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use auth::{Attributes, Authorizer, TokenIssuer, TokenReviewer, UserInfo};
use client::{Answer, List, Options, Request, Response, Target, Transport, Verb};
use env::Env;
use kinds::{KindRef, Subresource, Verbs};
use schema::Status;
use store::Store;
use tokio::sync::OnceCell;

use crate::admission::{Annotations, Chain, Facet};
use crate::cache::cursor::Cursor;
use crate::cache::{Cache, KindCache};
use crate::conversion::Memo;
use crate::flow::Flow;
use crate::gate::Gates;
use crate::list::Lister;
use crate::registry::Registry;
use crate::watch::{self, Watcher};
use crate::{Config, bootstrap, convert, custom, failure, list, review, sub, write};

/// What the server itself reads before it answers anybody.
const NEEDED: [&str; 5] = [
    "/namespaces/",
    "/rbac.authorization.k8s.io/clusterroles/",
    "/rbac.authorization.k8s.io/clusterrolebindings/",
    "/rbac.authorization.k8s.io/roles/",
    "/rbac.authorization.k8s.io/rolebindings/",
];

/// The API server without its HTTP face. Shared by everybody; holds no lock while it waits for anything.
pub struct Core {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) env: Env,
    pub(crate) config: Config,
    pub(crate) authorizer: Arc<dyn Authorizer>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) admission: Chain,
    pub(crate) gates: Gates,
    flow: Arc<Flow>,
    tokens: OnceLock<Tokens>,
    loaded: OnceCell<()>,
}

/// Who issues and reads service-account tokens.
pub(crate) struct Tokens {
    pub issuer: Arc<dyn TokenIssuer>,
    pub reviewer: Arc<dyn TokenReviewer>,
}

/// One request on its way: what every room needs to know of it.
pub(crate) struct Call<'a> {
    pub core: &'a Core,
    pub user: &'a UserInfo,
    pub kind: KindRef,
    pub target: &'a Target,
    pub options: &'a Options,
    /// What admission sees of the change.
    pub facet: Facet,
    pub annotations: &'a Annotations,
    /// Texts for Warning headers, gathered on the way.
    pub warnings: Vec<String>,
    /// What conversion webhooks were asked on the way.
    pub memo: Arc<Memo>,
}

impl Core {
    /// `kinds` are the rows to serve (`kinds::all()`). [`Core::start`] must have returned before the first call.
    pub fn new(store: Arc<dyn Store>, env: Env, config: Config, authorizer: Arc<dyn Authorizer>, kinds: Vec<KindRef>) -> Arc<Self> {
        let registry = Arc::new(Registry::new(kinds));
        let cache = Arc::new(Cache::new(Arc::clone(&store), env.clone(), Arc::clone(&registry), config.ring_bytes_max));
        let flow = Flow::new(&config, &env);
        Arc::new(Self {
            store,
            env,
            config,
            authorizer,
            registry,
            cache,
            admission: Chain::built_in(),
            gates: Gates::default(),
            flow,
            tokens: OnceLock::new(),
            loaded: OnceCell::new(),
        })
    }

    /// Sets who issues and reads service-account tokens. Before that `serviceaccounts/token` and TokenReview answer 503.
    pub fn set_tokens(&self, issuer: Arc<dyn TokenIssuer>, reviewer: Arc<dyn TokenReviewer>) {
        let _ = self.tokens.set(Tokens { issuer, reviewer });
    }

    /// Loads the cache and makes what every cluster has (namespaces, the kubernetes service, priority classes, the default
    /// roles and bindings). Resolves when calls can be answered.
    pub async fn start(self: &Arc<Self>) -> Result<(), Status> {
        self.load().await?;
        self.check_needed().await?;
        custom::start(self);
        bootstrap::run(self).await
    }

    /// The first half of [`Core::start`]: loads the cache, once, and makes nothing.
    pub async fn load(&self) -> Result<(), Status> {
        let load = || async { self.cache.load().await.map_err(|error| failure::of_store(&error)) };
        self.loaded.get_or_try_init(load).await.copied()
    }

    /// 500 where something cannot be read without which nobody could be let in: waiting for it would never end.
    async fn check_needed(&self) -> Result<(), Status> {
        let unreadable = NEEDED.iter().find_map(|prefix| {
            let (start, end) = list::bounds(prefix, "");
            self.cache.kind(prefix)?.unreadable.first_in(&start, &end)
        });
        match unreadable {
            Some(key) => Err(failure::unreadable_in_list(&*self.store, &key).await),
            None => Ok(()),
        }
    }

    pub fn env(&self) -> &Env {
        &self.env
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Priority and fairness: whoever lets requests of others in asks it first.
    pub fn flow(&self) -> &Arc<Flow> {
        &self.flow
    }

    pub fn authorizer(&self) -> &Arc<dyn Authorizer> {
        &self.authorizer
    }

    /// The ordered plug-ins that every change passes.
    pub fn admission(&self) -> &Chain {
        &self.admission
    }

    /// The newest revision that reads show.
    pub fn revision(&self) -> u64 {
        self.cache.applied()
    }

    pub(crate) fn tokens(&self) -> Result<&Tokens, Status> {
        self.tokens.get().ok_or_else(|| Status::unavailable("the token issuer is not ready yet"))
    }

    /// Answers a request of `user`.
    pub async fn call(&self, user: &UserInfo, request: Request) -> Result<Answer, Status> {
        self.call_annotated(user, request, &Annotations::default()).await
    }

    /// As [`Core::call`]; what admission has to say for the audit log is in `annotations`, also when the request is denied.
    pub async fn call_annotated(&self, user: &UserInfo, request: Request, annotations: &Annotations) -> Result<Answer, Status> {
        let mut warnings = Vec::new();
        let response = self.call_warned(user, request, annotations, &mut warnings).await?;
        Ok(Answer { response, warnings })
    }

    /// As [`Core::call_annotated`]; what the caller should be warned of is in `warnings`, also when the request fails.
    pub async fn call_warned(
        &self,
        user: &UserInfo,
        request: Request,
        annotations: &Annotations,
        warnings: &mut Vec<String>,
    ) -> Result<Response, Status> {
        let kind = self.admit(user, request.verb, &request.target, &request.options).await?;
        self.run_warned(user, kind, request, annotations, warnings).await
    }

    /// As [`Core::call`] for a list, without going through [`Answer`].
    pub async fn list(&self, user: &UserInfo, target: &Target, options: &Options) -> Result<(KindRef, List), Status> {
        let kind = self.admit(user, Verb::List, target, options).await?;
        let list = self.read_list(&kind, target, options).await?;
        Ok((kind, list))
    }

    /// As [`Core::call`] for a watch, as a cursor whose events share their encodings with all other watchers.
    /// A revision that is compacted is `Err` with code 410, which HTTP tells as an ERROR event in a 200 answer.
    pub async fn watch(&self, user: &UserInfo, target: &Target, options: &Options) -> Result<Cursor, Status> {
        let kind = self.admit(user, Verb::Watch, target, options).await?;
        self.read_watch(&kind, target, options).await
    }

    /// 403 unless `user` may; for what the HTTP face serves itself (logs, exec, non-resource paths).
    pub async fn authorize(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        auth::authz::require(&*self.authorizer, attributes).await
    }

    /// The way in for a component of this process, as `user`.
    pub fn transport(self: &Arc<Self>, user: UserInfo) -> Arc<dyn Transport> {
        let manager = self.manager_of(&user);
        Arc::new(InProcess { core: Arc::clone(self), user, manager })
    }

    /// The program that a component of this process stands for, as the original's managedFields name it.
    fn manager_of(&self, user: &UserInfo) -> String {
        let name = user.name.strip_prefix("system:").unwrap_or(&user.name);
        let program = match name.split(':').next().unwrap_or_default() {
            "controller" | "serviceaccount" => "kube-controller-manager",
            "node" => "kubelet",
            "apiserver" => self.config.program,
            _ => name,
        };
        program.to_owned()
    }

    /// Authorizes, then finds the kind: who may not ask is not told what exists.
    async fn admit(&self, user: &UserInfo, verb: Verb, target: &Target, options: &Options) -> Result<KindRef, Status> {
        self.authorize(&attributes(user, verb, target, options)).await?;
        let kind = self.registry.resource(&target.group, &target.version, &target.resource).ok_or_else(no_such_resource)?;
        Ok(kind)
    }

    /// Answers a request about `kind`, whoever may ask for it.
    pub(crate) async fn run(&self, user: &UserInfo, kind: KindRef, request: Request, annotations: &Annotations) -> Result<Answer, Status> {
        let mut warnings = Vec::new();
        let response = self.run_warned(user, kind, request, annotations, &mut warnings).await?;
        Ok(Answer { response, warnings })
    }

    async fn run_warned(
        &self,
        user: &UserInfo,
        kind: KindRef,
        request: Request,
        annotations: &Annotations,
        warnings: &mut Vec<String>,
    ) -> Result<Response, Status> {
        check_scope(&kind, &request.target)?;
        let (target, options, facet) = (&request.target, &request.options, Facet::Whole);
        let memo = Arc::default();
        let mut call = Call { core: self, user, kind, target, options, facet, annotations, warnings: Vec::new(), memo };
        // On the heap: the rooms below are many floors deep, and whoever calls keeps the way small.
        let response = Box::pin(call.respond(request.verb, request.body)).await;
        warnings.append(&mut call.warnings);
        response
    }

    pub(crate) async fn read_list(&self, kind: &KindRef, target: &Target, options: &Options) -> Result<List, Status> {
        check_scope(kind, target)?;
        check_verb(kind, Verb::List)?;
        let Some(kind_cache) = self.cache.of(kind) else {
            return Ok(self.nothing()); // a kind that keeps no objects (component statuses)
        };
        let lister = Lister { cache: &self.cache, store: &*self.store, kind, kind_cache: &kind_cache, namespace: &target.namespace };
        lister.list(&named_only(target, options)).await
    }

    async fn read_watch(&self, kind: &KindRef, target: &Target, options: &Options) -> Result<Cursor, Status> {
        check_scope(kind, target)?;
        check_verb(kind, Verb::Watch)?;
        let kind_cache = self.kind_cache(kind)?;
        let watcher = Watcher {
            cache: &self.cache,
            store: &*self.store,
            env: &self.env,
            kind,
            kind_cache: &kind_cache,
            namespace: &target.namespace,
        };
        watcher.watch(&named_only(target, options)).await
    }

    /// An empty list.
    fn nothing(&self) -> List {
        List { items: Vec::new(), resource_version: self.revision().to_string(), continue_token: String::new(), remaining: None }
    }

    pub(crate) fn kind_cache(&self, kind: &KindRef) -> Result<Arc<KindCache>, Status> {
        self.cache.of(kind).ok_or_else(|| Status::method_not_supported(&kind.group, &kind.resource, "get"))
    }
}

impl<'a> Call<'a> {
    /// The same request about another target; the warnings so far move along and have to be taken back.
    pub(crate) fn about<'b>(&mut self, target: &'b Target, options: &'b Options) -> Call<'b>
    where
        'a: 'b,
    {
        let warnings = std::mem::take(&mut self.warnings);
        let (facet, annotations, memo) = (Facet::Whole, self.annotations, Arc::clone(&self.memo));
        Call { core: self.core, user: self.user, kind: Arc::clone(&self.kind), target, options, facet, annotations, warnings, memo }
    }

    async fn respond(&mut self, verb: Verb, body: client::Body) -> Result<Response, Status> {
        // What stands behind each of these nests deeply: on the heap, it costs a request one allocation, and no stack.
        if let Some(answer) = Box::pin(review::answer(self, verb, &body)).await {
            return answer;
        }
        if self.kind.group.is_empty() && self.kind.resource == "bindings" {
            return Box::pin(sub::bind(self, &body)).await;
        }
        if !self.target.subresource.is_empty() {
            let subresource = self.subresource(verb)?;
            if let Some(answer) = Box::pin(sub::answer(self, verb, &subresource, &body)).await {
                return answer;
            }
        } else {
            check_verb(&self.kind, verb)?;
        }
        match verb {
            Verb::Get => Box::pin(self.get()).await,
            Verb::List => Ok(Response::List(Box::pin(self.core.read_list(&self.kind, self.target, self.options)).await?)),
            Verb::Watch => Ok(Response::Watch(watch::stream(self.core.read_watch(&self.kind, self.target, self.options).await?))),
            Verb::Create => Box::pin(write::create(self, body)).await,
            Verb::Update => Box::pin(write::update(self, body)).await,
            Verb::Patch => Box::pin(write::patch(self, body)).await,
            Verb::Delete => Box::pin(write::delete(self, body)).await,
            Verb::DeleteCollection => Box::pin(write::delete_collection(self, body)).await,
        }
    }

    /// The subresource asked for; 404 when the kind has none of that name, 405 when it does not know the verb.
    fn subresource(&self, verb: Verb) -> Result<Subresource, Status> {
        let name = &self.target.subresource;
        let custom = self.kind.custom.is_some();
        let missing = || if custom { self.not_found() } else { no_such_resource() };
        let found = self.kind.subresource(name).cloned().ok_or_else(missing)?;
        match found.verbs.contains(&verb.as_str()) {
            true => Ok(found),
            false if custom => Err(Status::method_not_supported(&self.kind.group, &self.kind.resource, verb.as_str())),
            false => Err(no_such_method()),
        }
    }

    async fn get(&self) -> Result<Response, Status> {
        let asked = match self.options.resource_version.as_deref() {
            None | Some("") => list::newest(&*self.core.store).await?,
            Some(text) => list::revision(text).map_err(|why| failure::plain(format!("resourceVersion: Invalid value: {text:?}: {why}")))?,
        };
        list::wait(&self.core.cache, asked).await?;
        let (key, kind_cache) = (self.key(), self.core.kind_cache(&self.kind).map_err(|_| self.not_found())?);
        let Some(item) = kind_cache.get(&key) else {
            let unreadable = kind_cache.unreadable.has(&key);
            return Err(if unreadable { failure::unreadable(&*self.core.store, &key).await } else { self.not_found() });
        };
        Ok(Response::Object { object: convert::object(&self.core.cache, &self.kind, item).await?, created: false })
    }

    /// The object's key in the store.
    pub(crate) fn key(&self) -> String {
        self.key_of(&self.target.name)
    }

    pub(crate) fn key_of(&self, name: &str) -> String {
        key(&self.kind, &self.target.namespace, name)
    }

    pub(crate) fn not_found(&self) -> Status {
        Status::not_found(&self.kind.group, &self.kind.resource, &self.target.name)
    }

    /// The kind as its definition has it now; 404 where that is gone.
    pub(crate) fn renew(&mut self) -> Result<(), Status> {
        if self.kind.custom.is_some() {
            let kind = &self.kind;
            self.kind = self.core.registry.resource(&kind.group, &kind.version, &kind.resource).ok_or_else(no_such_resource)?;
        }
        Ok(())
    }

    /// The descriptor of the version that is stored.
    pub(crate) fn stored_kind(&self) -> KindRef {
        self.core.registry.table().stored_as(&self.kind)
    }
}

/// `/pods/default/web`, `/nodes/one`.
pub(crate) fn key(kind: &KindRef, namespace: &str, name: &str) -> String {
    if namespace.is_empty() { format!("{}{name}", kind.storage_prefix) } else { format!("{}{namespace}/{name}", kind.storage_prefix) }
}

struct InProcess {
    core: Arc<Core>,
    user: UserInfo,
    /// The field manager of writes that name none.
    manager: String,
}

#[async_trait]
impl Transport for InProcess {
    async fn call(&self, mut request: Request) -> Result<Answer, Status> {
        if request.options.field_manager.is_empty() {
            request.options.field_manager.clone_from(&self.manager);
        }
        let kind = self.core.admit(&self.user, request.verb, &request.target, &request.options).await?;
        self.core.run(&self.user, kind, request, &Annotations::default()).await
    }
}

/// What is asked of the authorizer. A collection that a field selector narrows to one name is asked for by that name, and a
/// namespace object lies within itself, so that a role in it may speak of it.
fn attributes<'a>(user: &'a UserInfo, verb: Verb, target: &'a Target, options: &'a Options) -> Attributes<'a> {
    let is_namespace = target.group.is_empty() && target.resource == "namespaces";
    let listed = matches!(verb, Verb::List | Verb::Watch | Verb::DeleteCollection);
    let (field_selector, label_selector) = (options.field_selector.as_str(), options.label_selector.as_str());
    let selected = field_selector.split(',').find_map(|term| term.strip_prefix("metadata.name=")).map(|name| name.trim_start_matches('='));
    Attributes {
        subresource: &target.subresource,
        namespace: if is_namespace { &target.name } else { &target.namespace },
        name: if listed && target.name.is_empty() { selected.unwrap_or_default() } else { &target.name },
        field_selector,
        label_selector,
        ..Attributes::resource(user, verb.as_str(), &target.group, &target.version, &target.resource)
    }
}

/// A list or watch of one named object is one of the collection with a selector for it.
fn named_only(target: &Target, options: &Options) -> Options {
    let mut options = options.clone();
    if !target.name.is_empty() {
        let separator = if options.field_selector.is_empty() { "" } else { "," };
        options.field_selector = format!("metadata.name={}{separator}{}", target.name, options.field_selector);
    }
    options
}

/// 404 where a path names a namespace for a cluster-scoped kind, or none for an object of a namespaced one.
fn check_scope(kind: &KindRef, target: &Target) -> Result<(), Status> {
    let namespaced = !target.namespace.is_empty();
    let fits = match kind.is_namespaced() {
        true => namespaced || target.name.is_empty(),
        false => !namespaced,
    };
    if fits { Ok(()) } else { Err(no_such_resource()) }
}

fn check_verb(kind: &KindRef, verb: Verb) -> Result<(), Status> {
    let known = match kind.verbs {
        Verbs::All => true,
        Verbs::CreateOnly => verb == Verb::Create,
        Verbs::These(verbs) => verbs.contains(&verb.as_str()),
    };
    if known { Ok(()) } else { Err(no_such_method()) }
}

/// 405: the resource exists, but nobody may do this to it.
pub(crate) fn no_such_method() -> Status {
    let mut status = Status::failure(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
    status.details = Some(schema::status::Details::default());
    status
}

/// 404 without a name: there is no such resource at all.
pub(crate) fn no_such_resource() -> Status {
    let mut status = Status::failure(404, "NotFound", "the server could not find the requested resource");
    status.details = Some(schema::status::Details::default());
    status
}
