//! Kinds that users bring, as kubectl sees them: found by their short names, shown in their own columns, explained, refused
//! where their schema refuses, and gone with their definition.

use super::session::{Row, Session};

const DEFINITION: &str = r#"apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ships.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: ships, kind: Ship, shortNames: [sh], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.masts, statusReplicasPath: .status.masts}}
    additionalPrinterColumns:
    - {name: Cargo, type: string, jsonPath: .spec.cargo}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    selectableFields: [{jsonPath: .spec.cargo}]
    schema:
      openAPIV3Schema:
        type: object
        description: Ship is what carries a cargo.
        properties:
          spec:
            type: object
            required: [cargo]
            properties:
              cargo: {type: string, description: what it carries, enum: [steel, rust]}
              masts: {type: integer, minimum: 1, default: 2}
          status: {type: object, properties: {masts: {type: integer}}}
"#;

const ROWS: &[Row] = &[
    (&["get", "crd", "ships.example.com"], &["CREATED AT", "ships.example.com"]),
    (&["get", "sh"], &["NAME", "CARGO", "AGE", "vasa", "steel"]),
    (&["get", "ships.example.com", "vasa", "-o", "jsonpath={.spec.masts}"], &["2"]),
    (&["get", "all"], &["ship.example.com/vasa"]),
    (&["get", "sh", "--field-selector=spec.cargo=steel", "-o", "name"], &["ship.example.com/vasa"]),
    (&["describe", "ship", "vasa"], &["Kind:         Ship", "Cargo:  steel"]),
    (&["explain", "ship"], &["Ship is what carries a cargo."]),
    (&["explain", "ship.spec.cargo"], &["what it carries"]),
    (&["api-resources", "--api-group=example.com"], &["ships", "sh", "example.com/v1", "true", "Ship"]),
    (&["scale", "ship", "vasa", "--replicas=3"], &["scaled"]),
    (&["patch", "ship", "vasa", "--type=merge", "-p", "{\"spec\":{\"cargo\":\"rust\"}}"], &["patched"]),
    (&["label", "ship", "vasa", "sunk=true"], &["labeled"]),
    (&["get", "sh", "-l", "sunk", "-o", "yaml"], &["cargo: rust", "masts: 3", "generation: 3"]),
];

pub(crate) fn run(session: &mut Session<'_>) {
    session.ends_with_fed(0, DEFINITION, &["apply", "-f", "-"], &["ships.example.com created"]);
    session.shows(&["wait", "--for=condition=Established", "crd/ships.example.com", "--timeout=30s"], &["condition met"]);
    let ship = |name: &str, spec: &str| format!("apiVersion: example.com/v1\nkind: Ship\nmetadata: {{name: {name}}}\nspec: {spec}\n");
    session.ends_with_fed(0, &ship("vasa", "{cargo: steel}"), &["apply", "-f", "-"], &["ship.example.com/vasa created"]);
    session.ends_with_fed(0, &ship("vasa", "{cargo: steel}"), &["apply", "-f", "-"], &["vasa unchanged"]);
    session.rows(ROWS);
    // The oldest show no enumerations.
    if !["1.27", "1.29"].iter().any(|minor| session.program.ends_with(minor)) {
        session.shows(&["explain", "ship.spec.cargo"], &["ENUM:", "steel"]);
    }
    let refused = "spec.cargo: Unsupported value: \"gold\": supported values: \"steel\", \"rust\"";
    session.ends_with_fed(1, &ship("mary", "{cargo: gold}"), &["apply", "-f", "-"], &[refused]);
    let unknown = "strict decoding error: unknown field \"spec.crew\"";
    session.ends_with_fed(1, &ship("mary", "{cargo: rust, crew: 9}"), &["apply", "-f", "-"], &[unknown]);
    session.shows(&["delete", "crd", "ships.example.com", "--timeout=60s"], &["\"ships.example.com\" deleted"]);
    session.ends_with(1, &["get", "--raw", "/apis/example.com/v1/ships"], &["NotFound"]);
}
